"""Occluded COCO and Separated COCO by boxes, with imTED Faster R-CNN, ViT-B, of configs/coco."""

from ..coco.imted_faster_rcnn_vit_base_3x import dataloader, lr_multiplier, model, optimizer, train
from .coco_mask_rcnn_vit_base import _evaluator, occlusion

dataloader.evaluator = _evaluator
train.output_dir = "output/occlusion/coco_faster_rcnn_vit_base"
