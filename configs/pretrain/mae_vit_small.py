"""MAE pre-training of ViT-S; everything but the size as in mae_vit_base.py."""

from ..common.pretrain import dataloader, lr_multiplier, model, optimizer, train
from ..common.sizes import small

model.encoder.update(small.encoder)
model.decoder.update(small.decoder)
train.output_dir = "output/mae_vit_small"
