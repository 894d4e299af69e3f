"""ViT-B and larger on any COCO-format json, images of the size of photos.

Four paths are all it needs: the json files are checked before training, and the number of classes
and whether there are masks come from them. Augmentation is COCO's here: flips, crops, a short side
of 480 to 800 pixels.
"""

from detectron2.config import LazyCall as L

from imted.data import count_classes

from .data.coco_json import dataloader, dataset
from .models.imted_mask_rcnn_base import model
from .optim import optimizer
from .schedule import cosine as lr_multiplier
from .train import train

dataset.update(
    train_json="",  # COCO-format annotations to train on
    train_images="",  # the folder that its file names start from
    val_json="",  # held-out annotations
    val_images="",
)
model.roi_heads.num_classes = L(count_classes)(dataset="${dataset}")

train.init_checkpoint = "https://dl.fbaipublicfiles.com/mae/pretrain/mae_pretrain_vit_base_full.pth"
train.epochs = 36.0
train.eval_period = 1
train.validation_loss = True
train.validation_images = 4
train.checkpointer.period = 1
train.amp.enabled = True
