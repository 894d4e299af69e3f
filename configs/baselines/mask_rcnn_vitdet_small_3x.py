"""Detectron2's ViTDet Mask R-CNN, ViT-S, not in its model zoo: ViT-B's settings, narrower."""

from ..coco.imted_mask_rcnn_vit_small_3x import lr_multiplier, train
from ..common.sizes import small
from .mask_rcnn_vitdet_base_3x import dataloader, model, optimizer

model.backbone.net.update(small.encoder)
train.output_dir = "output/baselines/mask_rcnn_vitdet_small_3x"
