"""imTED Mask R-CNN, ViT-L, COCO, 36 epochs: 55.5 box AP and 48.1 mask AP in the authors' table."""

from ..common.coco_3x import dataloader, lr_multiplier, optimizer, train
from ..common.models.imted_mask_rcnn_base import model
from ..common.sizes import large

model.backbone.net.update(large.encoder, drop_path_rate=large.drop_path_rate)
model.roi_heads.box_head.update(large.decoder)

train.init_checkpoint = (
    "https://dl.fbaipublicfiles.com/mae/pretrain/mae_pretrain_vit_large_full.pth"
)
train.output_dir = "output/imted_mask_rcnn_vit_large_3x"
