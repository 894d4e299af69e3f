"""imTED Faster R-CNN, ViT-L, COCO, 36 epochs: 55.4 box AP in the authors' table."""

from ..common.boxes_only import boxes_only
from ..common.coco_3x import dataloader, lr_multiplier, optimizer, train
from ..common.models.imted_faster_rcnn_base import model
from ..common.sizes import large

model.backbone.net.update(large.encoder, drop_path_rate=large.drop_path_rate)
model.roi_heads.box_head.update(large.decoder)

dataloader.train.mapper.update(boxes_only.mapper)
train.init_checkpoint = (
    "https://dl.fbaipublicfiles.com/mae/pretrain/mae_pretrain_vit_large_full.pth"
)
train.output_dir = "output/imted_faster_rcnn_vit_large_3x"
