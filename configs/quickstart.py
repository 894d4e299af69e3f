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

# No object is smaller than 48 pixels: the finest level of the pyramid would be work for nothing.
model.backbone.scale_factors = (2.0, 1.0, 0.5)
model.backbone.top_block = None
model.proposal_generator.in_features = ["p3", "p4", "p5"]
model.proposal_generator.anchor_generator.sizes = [[48], [96], [192]]
model.proposal_generator.anchor_generator.strides = [8, 16, 32]
model.roi_heads.pyramid_features = ["p3", "p4", "p5"]
model.roi_heads.pyramid_strides = [8, 16, 32]
model.roi_heads.mask_in_features = ["p3", "p4", "p5"]
model.roi_heads.mask_pooler.scales = (1 / 8, 1 / 16, 1 / 32)

# Many small steps: RoIs are what a CPU spends its time on, and one box regressor for all
# classes learns from every object. docs/performance.md has what was tried.
model.roi_heads.batch_size_per_image = 32
model.roi_heads.box_predictor.cls_agnostic_bbox_reg = True
# The box loss is a mean over all RoIs, of which few are positive.
model.roi_heads.box_predictor.loss_weight.loss_box_reg = 20.0
# The shapes overlap little: two boxes of a class that do are mostly one object.
model.roi_heads.box_predictor.test_nms_thresh = 0.4
model.proposal_generator.post_nms_topk = (300, 100)

# Images of 192 pixels load in less time than a process takes to hand them over.
dataloader.train.num_workers = 0
optimizer.lr = 7e-4
optimizer.fused = True
train.output_dir = "output/quickstart"
train.max_iter = 2950
train.eval_period = 0
