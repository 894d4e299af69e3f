"""imTED Mask R-CNN, ViT-S, COCO, 36 epochs: 48.7 box AP and 42.7 mask AP in the authors' table."""

from ..common.coco_3x import dataloader, lr_multiplier, optimizer, train
from ..common.models.imted_mask_rcnn_base import model
from ..common.sizes import small

model.backbone.net.update(small.encoder, drop_path_rate=small.drop_path_rate)
model.roi_heads.box_head.update(small.decoder)

# MAE published no ViT-S: pre-train one (configs/pretrain/mae_vit_small.py) or name your own file.
train.init_checkpoint = "output/mae_vit_small/mae_final.safetensors"
train.output_dir = "output/imted_mask_rcnn_vit_small_3x"
