"""imTED Faster R-CNN, ViT-B, after the authors' base training on COCO's 60 base classes.

50.6 box AP on the base classes in their table. Classes come from the json, in the order of the
category ids:

python train_net.py --config-file configs/released/imted_faster_rcnn_vit_base_few_shot_base.py \
    --eval-only train.init_checkpoint=their.pth \
    dataset.val_json=base.json dataset.val_images=images
"""

from ..common.data.custom import dataset
from .imted_faster_rcnn_vit_base import dataloader, lr_multiplier, model, optimizer, train

dataloader.train.dataset.names = "custom_train"
dataloader.test.dataset.names = "custom_val"
model.roi_heads.num_classes = 60
train.output_dir = "output/released/imted_faster_rcnn_vit_base_few_shot_base"
