"""The tiny ViT on any COCO-format json, for small images on a small machine.

Four paths are all it needs: the json files are checked before training, and the number of classes
and whether there are masks come from them.
"""

import detectron2.data.transforms as T
from detectron2.config import LazyCall as L

from imted.data import count_classes

from .data.coco_json import dataloader, dataset
from .models.imted_mask_rcnn_tiny import model
from .optim import optimizer
from .schedule import cosine as lr_multiplier
from .train import train

dataset.update(train_json="", train_images="", val_json="", val_images="")
model.roi_heads.num_classes = L(count_classes)(dataset="${dataset}")
# The heads skip what the RPN takes for background: docs/own_data.md has what that saves.
model.roi_heads.test_objectness_thresh = 0.2

dataloader.train.mapper.augmentations = [
    L(T.RandomFlip)(horizontal=True),
    L(T.ResizeShortestEdge)(
        short_edge_length=(320, 352, 384, 416, 448), sample_style="choice", max_size=640
    ),
]
# Without crops, boxes stay as they are annotated.
dataloader.train.mapper.update(instance_mask_format="bitmask", recompute_boxes=False)
dataloader.train.total_batch_size = 2
dataloader.train.num_workers = 2

dataloader.test.mapper.augmentations = [
    L(T.ResizeShortestEdge)(short_edge_length=384, max_size=640)
]
dataloader.test.num_workers = 2

optimizer.lr = 1e-3
train.init_checkpoint = "imted://weights/mae_vit_tiny_photos.pth"
train.output_dir = "output/custom"
train.max_iter = 1000
train.clip_grad.enabled = True
train.eval_period = 500
train.validation_loss = True
train.validation_images = 4
train.checkpointer.period = 500
