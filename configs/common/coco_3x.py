"""The recipe of the COCO models, with ViT-B's weights: 36 epochs of 16 images an iteration."""

from .data.coco import dataloader
from .optim import optimizer
from .schedule import ITERATIONS_PER_EPOCH
from .schedule import coco_3x as lr_multiplier
from .train import train

train.init_checkpoint = "https://dl.fbaipublicfiles.com/mae/pretrain/mae_pretrain_vit_base_full.pth"
train.max_iter = 36 * ITERATIONS_PER_EPOCH
train.eval_period = ITERATIONS_PER_EPOCH
train.checkpointer.period = ITERATIONS_PER_EPOCH
train.amp.enabled = True
