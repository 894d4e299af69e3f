"""Tiny imTED Mask R-CNN on your own COCO-format json; it runs on a laptop.

python train_net.py --config-file configs/custom/imted_mask_rcnn_vit_tiny.py \
    dataset.train_json=train.json dataset.train_images=images \
    dataset.val_json=val.json dataset.val_images=images
"""

from detectron2.config import LazyCall as L

from imted.data import count_classes

from ..common.data.custom import dataloader, dataset
from ..common.models.imted_mask_rcnn_tiny import model
from ..common.optim import optimizer
from ..common.schedule import cosine as lr_multiplier
from ..common.train import train

model.roi_heads.num_classes = L(count_classes)(dataset="${dataset}")

optimizer.lr = 1e-3
train.init_checkpoint = "imted://weights/mae_vit_tiny_shapes.pth"
train.output_dir = "output/custom"
train.max_iter = 1000
train.clip_grad.enabled = True
train.eval_period = 500
train.validation_loss = True
train.validation_images = 4
train.checkpointer.period = 500
