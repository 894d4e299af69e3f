"""What the released detectors differ in from coco_3x.py: how images are read, and precision."""

from .coco_3x import lr_multiplier, optimizer, train
from .data.coco_released import dataloader

# The authors train in mixed precision and evaluate in single.
train.amp.enabled = False
