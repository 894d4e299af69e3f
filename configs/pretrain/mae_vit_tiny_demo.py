"""A masked autoencoder from nothing in a few minutes on a CPU: `make pretrain-demo`."""

from ..common.constants import DATASETS
from ..common.pretrain_tiny import dataloader, lr_multiplier, model, optimizer, train

dataloader.train.dataset.images = DATASETS + "/shapes/train"
train.max_iter = 300
train.checkpointer.period = 300
train.output_dir = "output/mae_vit_tiny_demo"
