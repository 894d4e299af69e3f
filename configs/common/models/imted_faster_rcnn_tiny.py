"""imTED Faster R-CNN on the tiny ViT: imted_mask_rcnn_tiny.py without masks."""

from .imted_mask_rcnn_tiny import model

model.roi_heads.mask_in_features = None
model.roi_heads.mask_pooler = None
model.roi_heads.mask_head = None
