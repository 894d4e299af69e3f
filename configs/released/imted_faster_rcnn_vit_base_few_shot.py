"""imTED Faster R-CNN, ViT-B, after the authors' base training (60 classes) or fine-tuning (80).

50.6 box AP on the base classes in their table; 23.0 and 30.4 on the novel ones at 10 and 30 shots.
The classes come from the json, in the order of the category ids:

python train_net.py --config-file configs/released/imted_faster_rcnn_vit_base_few_shot.py \
    --eval-only train.init_checkpoint=their.pth dataset.val_json=base.json dataset.val_images=images
"""

from detectron2.config import LazyCall as L

from imted.data import count_classes

from ..common.data.custom import dataset
from .imted_faster_rcnn_vit_base import dataloader, lr_multiplier, model, optimizer, train

dataloader.train.dataset.update(names="custom_train", source="${dataset}")
dataloader.test.dataset.update(names="custom_val", source="${dataset}")
model.roi_heads.num_classes = L(count_classes)(dataset="${dataset}")
train.output_dir = "output/released/imted_faster_rcnn_vit_base_few_shot"
