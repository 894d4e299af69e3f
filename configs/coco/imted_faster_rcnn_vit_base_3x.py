"""imTED Faster R-CNN, ViT-B, COCO, 36 epochs: 52.9 box AP in the authors' table."""

from ..common.boxes_only import boxes_only
from ..common.coco_3x import dataloader, lr_multiplier, optimizer, train
from ..common.models.imted_faster_rcnn_base import model

dataloader.train.mapper.update(boxes_only.mapper)
train.output_dir = "output/imted_faster_rcnn_vit_base_3x"
