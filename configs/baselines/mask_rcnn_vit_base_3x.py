"""Mask R-CNN, ViT-B: imTED's encoder and recipe, a random 4conv1fc box head on the pyramid."""

from ..coco.imted_mask_rcnn_vit_base_3x import dataloader, lr_multiplier, model, optimizer, train

model.roi_heads.variant = "baseline"
train.output_dir = "output/baselines/mask_rcnn_vit_base_3x"
