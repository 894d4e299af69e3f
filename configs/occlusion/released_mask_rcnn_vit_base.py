"""Occluded COCO and Separated COCO with the Mask R-CNN, ViT-B, that imTED's authors released."""

from ..released.imted_mask_rcnn_vit_base import dataloader, lr_multiplier, model, optimizer, train
from .coco_mask_rcnn_vit_base import _evaluator, occlusion

dataloader.evaluator = _evaluator
train.output_dir = "output/occlusion/released_mask_rcnn_vit_base"
