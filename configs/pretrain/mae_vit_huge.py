"""MAE pre-training of ViT-H with its patches of 14 pixels; all else as in mae_vit_base.py."""

from ..common.pretrain import dataloader, lr_multiplier, model, optimizer, train
from ..common.sizes import huge

model.encoder.update(huge.encoder)
model.encoder.patch_size = 14
model.decoder.update(huge.decoder)
model.decoder.grid_size = 16
train.output_dir = "output/mae_vit_huge"
