"""Single-object localisation on ImageNet, ViT-B: model.variant chooses one of the three.

We could not find how the paper trains this. Losses, image size and schedule are ours: 256 images
an iteration, 60 000 iterations, cosine. The three variants share all of it.
"""

from ..common.data.single_object import dataloader
from ..common.models.single_object import model
from ..common.optim import optimizer
from ..common.schedule import cosine as lr_multiplier
from ..common.train import train

optimizer.lr = 4e-4

train.init_checkpoint = "https://dl.fbaipublicfiles.com/mae/pretrain/mae_pretrain_vit_base_full.pth"
train.output_dir = "output/single_object/${model.variant}_seed${train.seed}"
train.max_iter = 60000
train.best_metric = "single_object/mAP"
train.amp.enabled = True
