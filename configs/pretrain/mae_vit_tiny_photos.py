"""MAE pre-training of the tiny ViT on a folder of photos, at half the size of a detector's."""

from ..common.constants import DATASETS
from ..common.pretrain_tiny import dataloader, model, optimizer, train
from ..common.schedule import constant_then_cosine as lr_multiplier

dataloader.train.dataset.images = DATASETS + "/photos"
# 64 patches instead of the 144 of 192 pixels are 2.2 times the images a second; of photos whose
# short side is 224, crops of this size show objects at the sizes that a detector will see.
dataloader.train.mapper.update(image_size=128, min_scale=0.15)
model.encoder.pretrain_img_size = 128
model.decoder.grid_size = 8
dataloader.train.total_batch_size = 64

optimizer.lr = 1.2e-3
train.max_iter = 32000
train.output_dir = "output/mae_vit_tiny_photos"
