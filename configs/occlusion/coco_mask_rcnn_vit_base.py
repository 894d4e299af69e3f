"""Occluded COCO and Separated COCO with imTED Mask R-CNN, ViT-B, as configs/coco trains it.

datasets/prepare_occlusion.py makes the two lists from the published ones.
"""

from ..common.coco_3x import dataloader, lr_multiplier, optimizer, train
from ..common.constants import DATASETS
from ..common.models.imted_mask_rcnn_base import model
from .common import evaluator as _evaluator
from .common import occlusion

occlusion.occluded = DATASETS + "/occluded_coco/occluded.json"
occlusion.separated = DATASETS + "/occluded_coco/separated.json"
dataloader.evaluator = _evaluator
train.output_dir = "output/occlusion/coco_mask_rcnn_vit_base"
