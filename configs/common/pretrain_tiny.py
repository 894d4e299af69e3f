"""MAE pre-training of the tiny ViT, for a CPU: pretrain.py made small."""

from .pretrain import dataloader, lr_multiplier, model, optimizer, train
from .sizes import tiny

model.encoder.update(tiny.encoder)
model.decoder.update(tiny.decoder)

dataloader.train.mapper.image_size = 192
dataloader.train.mapper.min_scale = 0.3
dataloader.train.total_batch_size = 32
dataloader.train.num_workers = 2

optimizer.lr = 8e-4
lr_multiplier.warmup_length = 0.05
train.max_iter = 7500
train.checkpointer.period = 500
