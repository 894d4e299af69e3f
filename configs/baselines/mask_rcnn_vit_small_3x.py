"""Mask R-CNN, ViT-S: imTED's encoder and recipe, a random 4conv1fc box head on the pyramid."""

from ..coco.imted_mask_rcnn_vit_small_3x import dataloader, lr_multiplier, model, optimizer, train

model.roi_heads.variant = "baseline"
train.output_dir = "output/baselines/mask_rcnn_vit_small_3x"
