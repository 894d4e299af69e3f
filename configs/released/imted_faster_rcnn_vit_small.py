"""imTED Faster R-CNN, ViT-S, as its authors released it: 48.2 box AP in their table."""

from ..common.boxes_only import boxes_only
from ..common.models.imted_released_mask_rcnn import model
from ..common.released_3x import dataloader, lr_multiplier, optimizer, train
from ..common.sizes import small

model.backbone.net.update(small.encoder, drop_path_rate=small.drop_path_rate)
model.roi_heads.box_head.update(small.decoder)
model.roi_heads.update(boxes_only.roi_heads)
dataloader.train.mapper.update(boxes_only.mapper)

train.init_checkpoint = "output/mae_vit_small/mae_final.safetensors"
train.output_dir = "output/released/imted_faster_rcnn_vit_small"
