"""MAE pre-training of ViT-L; everything but the size as in mae_vit_base.py."""

from ..common.pretrain import dataloader, lr_multiplier, model, optimizer, train
from ..common.sizes import large

model.encoder.update(large.encoder)
model.decoder.update(large.decoder)
train.output_dir = "output/mae_vit_large"
