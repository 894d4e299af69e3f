"""Detectron2's ViTDet Mask R-CNN, ViT-L: its own model, images and regularisation."""

from ..common.sizes import large
from ..common.vitdet_3x import dataloader, lr_multiplier, model, optimizer, train

model.backbone.net.update(large.encoder)
model.backbone.net.drop_path_rate = 0.4
# Global attention in the last block of each quarter, as in ViT-B.
model.backbone.net.window_block_indexes = [block for block in range(24) if block % 6 != 5]
optimizer.params.layer_decay = 0.8
train.init_checkpoint = (
    "https://dl.fbaipublicfiles.com/mae/pretrain/mae_pretrain_vit_large_full.pth"
)
train.output_dir = "output/baselines/mask_rcnn_vitdet_large_3x"
