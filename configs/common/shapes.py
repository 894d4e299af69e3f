"""What detectors of the synthetic shapes have in common: a tiny one with masks, for a CPU."""

import detectron2.data.transforms as T
from detectron2.config import LazyCall as L

from ..custom.imted_mask_rcnn_vit_tiny import (
    dataloader,
    dataset,
    lr_multiplier,
    model,
    optimizer,
    train,
)

model.roi_heads.num_classes = 6
dataloader.train.mapper.augmentations = [
    L(T.RandomFlip)(horizontal=True),
    L(T.RandomFlip)(horizontal=False, vertical=True),
]
dataloader.test.mapper.augmentations = []

# Many small steps: RoIs are what a CPU spends its time on, and one box regressor for all
# classes learns from every object. docs/performance.md has what was tried.
model.roi_heads.batch_size_per_image = 32
model.roi_heads.box_predictor.cls_agnostic_bbox_reg = True
# The box loss is a mean over all RoIs, of which few are positive.
model.roi_heads.box_predictor.loss_weight.loss_box_reg = 20.0
model.proposal_generator.post_nms_topk = (300, 100)

# Images of 192 pixels load in less time than a process takes to hand them over.
dataloader.train.num_workers = 0
# The test set's losses would take another two thirds of an evaluation's time.
train.validation_loss = False
optimizer.lr = 7e-4
optimizer.fused = True
