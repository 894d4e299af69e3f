"""Occluded COCO and Separated COCO by boxes, with imTED Faster R-CNN, ViT-B, of configs/coco."""

from ..common.boxes_only import boxes_only
from ..common.coco_3x import dataloader, lr_multiplier, optimizer, train
from ..common.constants import DATASETS
from ..common.models.imted_faster_rcnn_base import model
from .common import evaluator as _evaluator
from .common import occlusion

occlusion.occluded = DATASETS + "/occluded_coco/occluded.json"
occlusion.separated = DATASETS + "/occluded_coco/separated.json"
dataloader.evaluator = _evaluator
dataloader.train.mapper.update(boxes_only.mapper)
train.output_dir = "output/occlusion/coco_faster_rcnn_vit_base"
