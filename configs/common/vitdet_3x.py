"""Detectron2's ViTDet Mask R-CNN: its own model, images and regularisation.

Schedule, batch and learning rate are those of configs/coco, 36 epochs of 16 images an iteration;
ViTDet's own are 100 epochs of 64. Of the MAE the encoder alone migrates.
"""

import detectron2.data.transforms as T
from detectron2.config import LazyCall as L
from detectron2.config import LazyConfig

from imted.compat import detectron2_config_file
from imted.modeling import WindowedEncoder

from .coco_3x import dataloader, lr_multiplier, optimizer, train

model = LazyConfig.load(detectron2_config_file("common/models/mask_rcnn_vitdet.py")).model

# The same ViT with fused attention, and checkpointing that does without fairscale.
model.backbone.net._target_ = WindowedEncoder
model.backbone.net.use_act_checkpoint = False
del model.backbone.net.norm_layer  # the same by default

optimizer.weight_decay = 0.1
optimizer.params.layer_decay = 0.7

# Large-scale jitter: 0.1 to 2 times the size that fits 1024 pixels, cropped to 1024.
dataloader.train.mapper.augmentations = [
    L(T.RandomFlip)(horizontal=True),
    L(T.ResizeScale)(min_scale=0.1, max_scale=2.0, target_height=1024, target_width=1024),
    L(T.FixedSizeCrop)(crop_size=(1024, 1024), pad=False),
]
dataloader.test.mapper.augmentations = [
    L(T.ResizeShortestEdge)(short_edge_length=1024, max_size=1024)
]
