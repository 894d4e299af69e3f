"""The synthetic shapes, and how a tiny detector trains on them in minutes on a CPU."""

import detectron2.data.transforms as T
from detectron2.config import LazyCall as L

from .constants import DATASETS
from .data.coco_json import dataloader, dataset
from .optim import optimizer
from .schedule import cosine as lr_multiplier
from .train import train

dataset.update(
    train_json=DATASETS + "/shapes/train.json",
    train_images=DATASETS + "/shapes/train",
    val_json=DATASETS + "/shapes/val.json",
    val_images=DATASETS + "/shapes/val",
)
dataloader.train.mapper.update(instance_mask_format="bitmask", recompute_boxes=False)
dataloader.train.total_batch_size = 2
dataloader.test.num_workers = 2
train.init_checkpoint = "imted://weights/mae_vit_tiny_shapes.pth"
train.max_iter = 2950
train.clip_grad.enabled = True
train.eval_period = 0
train.validation_images = 4
train.checkpointer.period = 500

dataloader.train.mapper.augmentations = [
    L(T.RandomFlip)(horizontal=True),
    L(T.RandomFlip)(horizontal=False, vertical=True),
]
# What the images have; a photograph is detected in at the size that objects were learned at.
dataloader.test.mapper.augmentations = [
    L(T.ResizeShortestEdge)(short_edge_length=192, max_size=320)
]
# Images of 192 pixels load in less time than a process takes to hand them over.
dataloader.train.num_workers = 0
optimizer.lr = 7e-4
optimizer.fused = True
