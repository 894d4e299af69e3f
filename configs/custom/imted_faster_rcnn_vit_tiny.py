"""Tiny imTED Faster R-CNN on your own COCO-format json: its mask twin without masks."""

from ..common.boxes_only import boxes_only
from ..common.custom_tiny import dataloader, dataset, lr_multiplier, model, optimizer, train

model.roi_heads.update(boxes_only.roi_heads)
dataloader.train.mapper.update(boxes_only.mapper)
