"""imTED Faster R-CNN, ViT-L, as its authors released it: 55.4 box AP in their table."""

from ..common.boxes_only import boxes_only
from .imted_mask_rcnn_vit_large import dataloader, lr_multiplier, model, optimizer, train

model.roi_heads.update(boxes_only.roi_heads)
dataloader.train.mapper.update(boxes_only.mapper)
train.output_dir = "output/released/imted_faster_rcnn_vit_large"
