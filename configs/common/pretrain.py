"""MAE's recipe of pre-training (He et al., 2022), ViT-B: batch 1024, rate 1.5e-4 x 1024 / 256."""

from .data.pretrain import dataloader
from .models.mae import model
from .optim import optimizer
from .schedule import cosine as lr_multiplier
from .sizes import base
from .train import train

model.encoder.update(base.encoder)
model.decoder.update(base.decoder)

optimizer.lr = 6e-4
optimizer.betas = (0.9, 0.95)
optimizer.params.layer_decay = 1.0

train.max_iter = 1600 * 118287 // 1024
lr_multiplier.warmup_length = 40 / 1600
train.amp.enabled = True
train.eval_period = 0
train.best_metric = ""
