"""imTED Mask R-CNN, ViT-L, as its authors released it: 55.5 box AP and 48.1 mask AP."""

from ..common.sizes import large
from .imted_faster_rcnn_vit_large import train
from .imted_mask_rcnn_vit_base import dataloader, lr_multiplier, model, optimizer

model.backbone.net.update(large.encoder)
model.backbone.net.drop_path_rate = 0.3
model.backbone.net.early_blocks = [12]
model.backbone.in_feature = "block12"
model.roi_heads.decoder.update(large.decoder)

train.output_dir = "output/released/imted_mask_rcnn_vit_large"
