"""Faster R-CNN, ViT-L: imTED's encoder and recipe, a random 4conv1fc box head on the pyramid."""

from ..coco.imted_faster_rcnn_vit_large_3x import dataloader, lr_multiplier, model, optimizer, train

model.roi_heads.variant = "baseline"
train.output_dir = "output/baselines/faster_rcnn_vit_large_3x"
