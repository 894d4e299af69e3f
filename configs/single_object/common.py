"""One object per image: model, images and losses, ViT-B on ImageNet."""

import detectron2.data.transforms as T
from detectron2.config import LazyCall as L
from detectron2.data import build_detection_test_loader
from omegaconf import OmegaConf

from imted.data.train_loader import build_train_loader
from imted.experiments.single_object import (
    SingleObjectEvaluator,
    SingleObjectLocalizer,
    SingleObjectMapper,
    read_single_object,
)
from imted.modeling import MAEEncoder

from ..common.constants import DATASETS, imagenet
from ..common.optim import optimizer
from ..common.schedule import cosine as lr_multiplier
from ..common.sizes import base
from ..common.train import train

model = L(SingleObjectLocalizer)(
    variant="pretrained_decoder",  # encoder, random_decoder or pretrained_decoder
    num_classes=1000,
    encoder=L(MAEEncoder)(
        **base.encoder, patch_size=16, drop_path_rate=0.0, use_act_checkpoint=False
    ),
    decoder=dict(**base.decoder, drop_path_rate=0.0, use_act_checkpoint=False),
    l1_weight=5.0,
    giou_weight=2.0,
    **imagenet,
)

dataloader = OmegaConf.create()
dataloader.train = L(build_train_loader)(
    dataset=L(read_single_object)(
        root=DATASETS + "/imagenet",
        split="train",
        num_classes="${model.num_classes}",
    ),
    mapper=L(SingleObjectMapper)(
        is_train=True,
        augmentations=[L(T.Resize)(shape=(224, 224)), L(T.RandomFlip)(horizontal=True)],
        image_format="RGB",
    ),
    total_batch_size=256,
    num_workers=8,
)
dataloader.test = L(build_detection_test_loader)(
    dataset=L(read_single_object)(
        root="${dataloader.train.dataset.root}", split="val", num_classes="${model.num_classes}"
    ),
    mapper=L(SingleObjectMapper)(
        is_train=False,
        augmentations=["${dataloader.train.mapper.augmentations[0]}"],  # the resizing
        image_format="${dataloader.train.mapper.image_format}",
    ),
    batch_size=32,
    num_workers=4,
)
dataloader.evaluator = L(SingleObjectEvaluator)(dataset="${dataloader.test.dataset}")

optimizer.lr = 4e-4

train.init_checkpoint = "https://dl.fbaipublicfiles.com/mae/pretrain/mae_pretrain_vit_base_full.pth"
train.max_iter = 60000
train.best_metric = "single_object/mAP"
train.amp.enabled = True
