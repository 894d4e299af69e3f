"""MAE pre-training of the tiny ViT on the synthetic images: what projects/imTED/weights holds."""

from ..common.constants import DATASETS
from ..common.pretrain_tiny import dataloader, lr_multiplier, model, optimizer, train

# Crops of 192 pixels from images of 256 show objects at the size that a detector will see them.
dataloader.train.dataset.images = DATASETS + "/shapes_pretrain/pretrain"
train.output_dir = "output/mae_vit_tiny"
