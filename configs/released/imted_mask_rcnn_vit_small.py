"""imTED Mask R-CNN, ViT-S, as its authors released it: 48.7 box AP and 42.7 mask AP."""

from ..common.sizes import small
from .imted_faster_rcnn_vit_small import train
from .imted_mask_rcnn_vit_base import dataloader, lr_multiplier, model, optimizer

model.backbone.net.update(small.encoder)
model.backbone.net.drop_path_rate = 0.1
model.roi_heads.decoder.update(small.decoder)

train.output_dir = "output/released/imted_mask_rcnn_vit_small"
