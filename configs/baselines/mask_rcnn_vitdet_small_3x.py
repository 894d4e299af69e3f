"""Detectron2's ViTDet Mask R-CNN, ViT-S, not in its model zoo: ViT-B's settings, narrower."""

from ..common.sizes import small
from ..common.vitdet_3x import dataloader, lr_multiplier, model, optimizer, train

model.backbone.net.update(small.encoder)
# MAE published no ViT-S: pre-train one (configs/pretrain/mae_vit_small.py) or name your own file.
train.init_checkpoint = "output/mae_vit_small/mae_final.safetensors"
train.output_dir = "output/baselines/mask_rcnn_vitdet_small_3x"
