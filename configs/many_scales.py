"""The variants on shapes of many scales: tiny Faster R-CNN, objects of 12 to 130 pixels.

    python datasets/prepare_shapes.py --output datasets/shapes_scales --class-colours

An object of 28 pixels covers 7 cells of p2, and not 2 of the encoder's feature.
"""

import detectron2.data.transforms as T
from detectron2.config import LazyCall as L

from .common.constants import DATASETS
from .custom.imted_faster_rcnn_vit_tiny import (
    dataloader,
    dataset,
    lr_multiplier,
    model,
    optimizer,
    train,
)

dataset.update(
    train_json=DATASETS + "/shapes_scales/train.json",
    train_images=DATASETS + "/shapes_scales/train",
    val_json=DATASETS + "/shapes_scales/val.json",
    val_images=DATASETS + "/shapes_scales/val",
)
model.roi_heads.num_classes = 6
dataloader.train.mapper.augmentations = [
    L(T.RandomFlip)(horizontal=True),
    L(T.RandomFlip)(horizontal=False, vertical=True),
]
dataloader.test.mapper.augmentations = []

# As in the demo, for the same reasons (configs/quickstart.py).
model.roi_heads.batch_size_per_image = 32
model.roi_heads.box_predictor.cls_agnostic_bbox_reg = True
model.roi_heads.box_predictor.loss_weight.loss_box_reg = 20.0
model.proposal_generator.post_nms_topk = (300, 100)
dataloader.train.num_workers = 0
optimizer.lr = 7e-4
optimizer.fused = True

train.output_dir = "output/many_scales"
train.max_iter = 2500
train.eval_period = 500
