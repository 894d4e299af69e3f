"""The embedded default: a tiny imTED with masks on the synthetic shapes, minutes on a CPU.

`make demo` generates the images (datasets/README.md has the command) and runs this.
"""

import detectron2.data.transforms as T
from detectron2.config import LazyCall as L

from .common.constants import DATASETS
from .custom.imted_mask_rcnn_vit_tiny import (
    dataloader,
    dataset,
    lr_multiplier,
    model,
    optimizer,
    train,
)

dataset.update(
    train_json=DATASETS + "/shapes/train.json",
    train_images=DATASETS + "/shapes/train",
    val_json=DATASETS + "/shapes/val.json",
    val_images=DATASETS + "/shapes/val",
)
model.roi_heads.num_classes = 6
dataloader.train.mapper.augmentations = [
    L(T.RandomFlip)(horizontal=True),
    L(T.RandomFlip)(horizontal=False, vertical=True),
]
dataloader.test.mapper.augmentations = []

# Many small steps: RoIs are what a CPU spends its time on, and one box regressor for all
# classes learns from every object.
model.roi_heads.batch_size_per_image = 32
model.roi_heads.positive_fraction = 0.5
model.roi_heads.box_predictor.cls_agnostic_bbox_reg = True

optimizer.lr = 7e-4
train.output_dir = "output/quickstart"
train.max_iter = 1600
train.eval_period = 0
