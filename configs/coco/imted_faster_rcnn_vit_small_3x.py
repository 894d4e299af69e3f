"""imTED Faster R-CNN, ViT-S, COCO, 36 epochs: 48.2 box AP in the authors' table."""

from ..common.sizes import small
from .imted_faster_rcnn_vit_base_3x import dataloader, lr_multiplier, model, optimizer, train

model.backbone.net.update(small.encoder)
model.backbone.net.drop_path_rate = 0.1
model.roi_heads.decoder.update(small.decoder)

# MAE published no ViT-S: pre-train one (configs/pretrain/mae_vit_small.py) or name your own file.
train.init_checkpoint = "output/mae_vit_small/mae_final.safetensors"
train.output_dir = "output/imted_faster_rcnn_vit_small_3x"
