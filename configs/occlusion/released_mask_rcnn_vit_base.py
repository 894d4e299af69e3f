"""Occluded COCO and Separated COCO with the Mask R-CNN, ViT-B, that imTED's authors released.

datasets/prepare_occlusion.py makes the two lists from the published ones.
"""

from ..common.data.occlusion import evaluator, occlusion
from ..released.imted_mask_rcnn_vit_base import dataloader, lr_multiplier, model, optimizer, train

occlusion.occluded = "datasets/occluded_coco/occluded.json"
occlusion.separated = "datasets/occluded_coco/separated.json"
dataloader.evaluator = evaluator
train.output_dir = "output/occlusion/released_mask_rcnn_vit_base"
