"""imTED Faster R-CNN, ViT-S, COCO, 36 epochs: 48.2 box AP in the authors' table."""

from ..common.boxes_only import boxes_only
from ..common.coco_3x import dataloader, lr_multiplier, optimizer, train
from ..common.models.imted_faster_rcnn_base import model
from ..common.sizes import small

model.backbone.net.update(small.encoder, drop_path_rate=small.drop_path_rate)
model.roi_heads.box_head.update(small.decoder)

dataloader.train.mapper.update(boxes_only.mapper)
# MAE published no ViT-S: pre-train one (configs/pretrain/mae_vit_small.py) or name your own file.
train.init_checkpoint = "output/mae_vit_small/mae_final.safetensors"
train.output_dir = "output/imted_faster_rcnn_vit_small_3x"
