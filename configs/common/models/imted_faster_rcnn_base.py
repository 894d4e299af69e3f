"""imTED Faster R-CNN on ViT-B: imted_mask_rcnn_base.py without masks."""

from ..boxes_only import boxes_only
from .imted_mask_rcnn_base import model

model.roi_heads.update(boxes_only.roi_heads)
