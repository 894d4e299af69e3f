"""The embedded default: a tiny imTED with masks on the synthetic shapes, minutes on a CPU.

`make demo` generates the images (datasets/README.md has the command) and runs this.
"""

import detectron2.data.transforms as T
from detectron2.config import LazyCall as L

from .custom.imted_mask_rcnn_vit_tiny import (
    dataloader,
    dataset,
    lr_multiplier,
    model,
    optimizer,
    train,
)

dataset.update(
    train_json="datasets/shapes/train.json",
    train_images="datasets/shapes/train",
    val_json="datasets/shapes/val.json",
    val_images="datasets/shapes/val",
)
dataloader.train.mapper.augmentations = [
    L(T.RandomFlip)(horizontal=True),
    L(T.RandomFlip)(horizontal=False, vertical=True),
]
dataloader.test.mapper.augmentations = []

optimizer.lr = 1.5e-3
train.output_dir = "output/quickstart"
train.max_iter = 800
train.eval_period = 0
