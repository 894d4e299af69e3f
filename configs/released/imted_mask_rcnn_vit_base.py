"""imTED Mask R-CNN, ViT-B, as its authors released it: 53.3 box AP and 46.4 mask AP."""

from ..common.models.imted_released_mask_rcnn import model
from ..common.sizes import base
from .imted_faster_rcnn_vit_base import dataloader, lr_multiplier, optimizer, train

model.backbone.net.update(base.encoder)
model.backbone.net.drop_path_rate = 0.2
model.backbone.net.use_act_checkpoint = True
model.roi_heads.decoder.update(base.decoder)

dataloader.train.mapper.use_instance_mask = True
dataloader.train.mapper.recompute_boxes = True
train.output_dir = "output/released/imted_mask_rcnn_vit_base"
