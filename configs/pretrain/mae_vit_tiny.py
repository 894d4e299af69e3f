"""MAE pre-training of the tiny ViT on the synthetic images: what projects/imTED/weights holds."""

from ..common.constants import DATASETS
from ..common.sizes import tiny
from .mae_vit_base import dataloader, lr_multiplier, model, optimizer, train

model.encoder.update(tiny.encoder)
model.decoder.update(tiny.decoder)

dataloader.train.dataset.images = DATASETS + "/shapes_pretrain/pretrain"
# The crops show objects at the size that a detector will see them, 192 of 256 pixels on average.
dataloader.train.mapper.image_size = 192
dataloader.train.mapper.min_scale = 0.3
dataloader.train.total_batch_size = 32
dataloader.train.num_workers = 2

optimizer.lr = 8e-4
lr_multiplier.warmup_length = 0.05
train.max_iter = 7500
train.checkpointer.period = 500
train.output_dir = "output/mae_vit_tiny"
