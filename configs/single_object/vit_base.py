"""Single-object localisation on ImageNet, ViT-B: model.variant chooses one of the three.

We could not find how the paper trains this. Losses, image size and schedule are ours: 256 images
an iteration, 60 000 iterations, cosine. The three variants share all of it.

The images are ImageNet's with one box, resized to a square: `dataloader.train.dataset.root` is the
folder of Data/CLS-LOC and Annotations/CLS-LOC.
"""

from .common import dataloader, lr_multiplier, model, optimizer, train

train.output_dir = "output/single_object/${model.variant}_seed${train.seed}"
