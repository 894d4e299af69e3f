"""Tiny imTED Faster R-CNN on your own COCO-format json: its mask twin without masks."""

from ..common.models.imted_faster_rcnn_tiny import model
from .imted_mask_rcnn_vit_tiny import dataloader, dataset, lr_multiplier, optimizer, train

dataloader.train.mapper.use_instance_mask = False
