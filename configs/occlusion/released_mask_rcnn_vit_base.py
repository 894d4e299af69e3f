"""Occluded COCO and Separated COCO with the Mask R-CNN, ViT-B, that imTED's authors released."""

from ..common.constants import DATASETS
from ..common.models.imted_released_mask_rcnn import model
from ..common.released_3x import dataloader, lr_multiplier, optimizer, train
from ..common.sizes import base
from .common import evaluator as _evaluator
from .common import occlusion

model.backbone.net.update(base.encoder, drop_path_rate=base.drop_path_rate)
model.roi_heads.box_head.update(base.decoder)
occlusion.occluded = DATASETS + "/occluded_coco/occluded.json"
occlusion.separated = DATASETS + "/occluded_coco/separated.json"
dataloader.evaluator = _evaluator
train.output_dir = "output/occlusion/released_mask_rcnn_vit_base"
