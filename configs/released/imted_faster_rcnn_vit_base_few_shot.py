"""imTED Faster R-CNN, ViT-B, after the authors' base training (60 classes) or fine-tuning (80).

50.6 box AP on the base classes in their table; 23.0 and 30.4 on the novel ones at 10 and 30 shots.
The classes come from the json, in the order of the category ids:

python train_net.py --config-file configs/released/imted_faster_rcnn_vit_base_few_shot.py \
    --eval-only train.init_checkpoint=their.pth dataset.val_json=base.json dataset.val_images=images
"""

from detectron2.config import LazyCall as L

from imted.data import count_classes

from ..common.boxes_only import boxes_only
from ..common.data.coco_json import dataset
from ..common.models.imted_released_mask_rcnn import model
from ..common.released_3x import dataloader, lr_multiplier, optimizer, train
from ..common.sizes import base

model.backbone.net.update(base.encoder, drop_path_rate=base.drop_path_rate)
model.roi_heads.box_head.update(base.decoder)
model.roi_heads.update(boxes_only.roi_heads)
model.roi_heads.num_classes = L(count_classes)(dataset="${dataset}")

dataloader.train.mapper.update(boxes_only.mapper)
dataloader.train.dataset.update(names="custom_train", source="${dataset}")
dataloader.test.dataset.update(names="custom_val", source="${dataset}")
dataset.update(train_images="", val_json="", val_images="")
train.output_dir = "output/released/imted_faster_rcnn_vit_base_few_shot"
