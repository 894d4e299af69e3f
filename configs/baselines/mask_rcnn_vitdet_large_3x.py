"""Detectron2's ViTDet Mask R-CNN, ViT-L: its own model, images and regularisation."""

from ..coco.imted_mask_rcnn_vit_large_3x import lr_multiplier, train
from ..common.sizes import large
from .mask_rcnn_vitdet_base_3x import dataloader, model, optimizer

model.backbone.net.update(large.encoder)
model.backbone.net.drop_path_rate = 0.4
# Global attention in the last block of each quarter, as in ViT-B.
model.backbone.net.window_block_indexes = [block for block in range(24) if block % 6 != 5]
optimizer.params.layer_decay = 0.8
train.output_dir = "output/baselines/mask_rcnn_vitdet_large_3x"
