"""The embedded default: a tiny imTED with masks on the synthetic shapes, minutes on a CPU.

`make demo` generates the images (datasets/README.md has the command) and runs this.
"""

from .common.models.imted_mask_rcnn_large_shapes import model
from .common.shapes import dataloader, dataset, lr_multiplier, optimizer, train

train.output_dir = "output/quickstart"
