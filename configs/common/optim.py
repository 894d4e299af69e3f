"""AdamW with layer-wise decay: the recipe of imTED's COCO models."""

import torch
from detectron2.config import LazyCall as L

from imted.training.optimizer import layer_decay_param_groups

optimizer = L(torch.optim.AdamW)(
    params=L(layer_decay_param_groups)(
        model=None,  # set by the launcher
        base_lr="${..lr}",
        weight_decay="${..weight_decay}",
        layer_decay=0.75,
    ),
    lr=1e-4,
    betas=(0.9, 0.999),
    weight_decay=0.05,
)
