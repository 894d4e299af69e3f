"""imTED Faster R-CNN, ViT-S, as its authors released it: 48.2 box AP in their table."""

from ..common.sizes import small
from .imted_faster_rcnn_vit_base import dataloader, lr_multiplier, model, optimizer, train

model.backbone.net.update(small.encoder)
model.backbone.net.drop_path_rate = 0.1
model.roi_heads.decoder.update(small.decoder)

train.init_checkpoint = "output/mae_vit_small/mae_final.safetensors"
train.output_dir = "output/released/imted_faster_rcnn_vit_small"
