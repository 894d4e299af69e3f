"""imTED Faster R-CNN, ViT-S, as its authors released it: 48.2 box AP in their table."""

from ..common.boxes_only import boxes_only
from .imted_mask_rcnn_vit_small import dataloader, lr_multiplier, model, optimizer, train

model.roi_heads.update(boxes_only.roi_heads)
dataloader.train.mapper.update(boxes_only.mapper)
train.output_dir = "output/released/imted_faster_rcnn_vit_small"
