"""Occluded COCO and Separated COCO with imTED Mask R-CNN, ViT-B, as configs/coco trains it.

datasets/prepare_occlusion.py makes the two lists from the published ones.
"""

from ..coco.imted_mask_rcnn_vit_base_3x import dataloader, lr_multiplier, model, optimizer, train
from .common import evaluator, occlusion

occlusion.occluded = "datasets/occluded_coco/occluded.json"
occlusion.separated = "datasets/occluded_coco/separated.json"
dataloader.evaluator = evaluator
train.output_dir = "output/occlusion/coco_mask_rcnn_vit_base"
