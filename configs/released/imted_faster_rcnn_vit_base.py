"""imTED Faster R-CNN, ViT-B, as its authors released it: 52.9 box AP in their table."""

from ..common.boxes_only import boxes_only
from .imted_mask_rcnn_vit_base import dataloader, lr_multiplier, model, optimizer, train

model.roi_heads.update(boxes_only.roi_heads)
dataloader.train.mapper.update(boxes_only.mapper)
train.output_dir = "output/released/imted_faster_rcnn_vit_base"
