"""MAE pre-training of ViT-B (He et al., 2022): batch 1024, learning rate 1.5e-4 x 1024 / 256.

The batch is over all GPUs and accumulation steps: with 8 GPUs of 32 images each, set
`dataloader.train.total_batch_size=256 train.accumulation_steps=4`. The schedule is 1600 epochs of
COCO's train2017; a folder of your own wants `train.max_iter` to fit it.
"""

from ..common.data.pretrain import dataloader
from ..common.models.mae import model
from ..common.optim import optimizer
from ..common.schedule import cosine as lr_multiplier
from ..common.sizes import base
from ..common.train import train

model.encoder.update(base.encoder)
model.decoder.update(base.decoder)

optimizer.lr = 6e-4
optimizer.betas = (0.9, 0.95)
optimizer.params.layer_decay = 1.0

train.output_dir = "output/mae_vit_base"
train.max_iter = 1600 * 118287 // 1024
lr_multiplier.warmup_length = 40 / 1600
train.amp.enabled = True
train.eval_period = 0
train.best_metric = ""
