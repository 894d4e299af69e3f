"""MAE pre-training of ViT-L; everything but the size as in mae_vit_base.py."""

from ..common.sizes import large
from .mae_vit_base import dataloader, lr_multiplier, model, optimizer, train

model.encoder.update(large.encoder)
model.decoder.update(large.decoder)
train.output_dir = "output/mae_vit_large"
