"""imTED Faster R-CNN, ViT-L, COCO, 36 epochs: 55.4 box AP in the authors' table."""

from ..common.boxes_only import boxes_only
from .imted_mask_rcnn_vit_large_3x import dataloader, lr_multiplier, model, optimizer, train

model.roi_heads.update(boxes_only.roi_heads)
dataloader.train.mapper.update(boxes_only.mapper)
train.output_dir = "output/imted_faster_rcnn_vit_large_3x"
