"""imTED Faster R-CNN, ViT-L, COCO, 36 epochs: 55.4 box AP in the authors' table."""

from ..common.sizes import large
from .imted_faster_rcnn_vit_base_3x import dataloader, lr_multiplier, model, optimizer, train

model.backbone.net.update(large.encoder)
model.backbone.net.drop_path_rate = 0.3
model.roi_heads.decoder.update(large.decoder)

train.init_checkpoint = (
    "https://dl.fbaipublicfiles.com/mae/pretrain/mae_pretrain_vit_large_full.pth"
)
train.output_dir = "output/imted_faster_rcnn_vit_large_3x"
