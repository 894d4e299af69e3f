"""imTED Mask R-CNN, ViT-L, COCO, 36 epochs: 55.5 box AP and 48.1 mask AP in the authors' table."""

from ..common.sizes import large
from .imted_faster_rcnn_vit_large_3x import train
from .imted_mask_rcnn_vit_base_3x import dataloader, lr_multiplier, model, optimizer

model.backbone.net.update(large.encoder)
model.backbone.net.drop_path_rate = 0.3
model.roi_heads.decoder.update(large.decoder)

train.output_dir = "output/imted_mask_rcnn_vit_large_3x"
