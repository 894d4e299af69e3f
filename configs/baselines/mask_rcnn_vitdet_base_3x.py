"""Detectron2's ViTDet Mask R-CNN, ViT-B: its own model, images and regularisation."""

from ..common.vitdet_3x import dataloader, lr_multiplier, model, optimizer, train

train.output_dir = "output/baselines/mask_rcnn_vitdet_base_3x"
