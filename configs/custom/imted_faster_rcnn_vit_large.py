"""imTED Faster R-CNN, ViT-L, on your own COCO-format json: its mask twin without masks."""

from ..common.boxes_only import boxes_only
from .imted_mask_rcnn_vit_large import dataloader, dataset, lr_multiplier, model, optimizer, train

model.roi_heads.update(boxes_only.roi_heads)
dataloader.train.mapper.update(boxes_only.mapper)
