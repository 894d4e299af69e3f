"""imTED Faster R-CNN, ViT-B, as its authors released it: 52.9 box AP in their table."""

from ..common.boxes_only import boxes_only
from ..common.models.imted_released_mask_rcnn import model
from ..common.released_3x import dataloader, lr_multiplier, optimizer, train
from ..common.sizes import base

model.backbone.net.update(base.encoder, drop_path_rate=base.drop_path_rate)
model.roi_heads.box_head.update(base.decoder)
model.roi_heads.update(boxes_only.roi_heads)
dataloader.train.mapper.update(boxes_only.mapper)

train.output_dir = "output/released/imted_faster_rcnn_vit_base"
