"""ImageNet's images with one box, resized to a square; one folder is all it needs.

`dataloader.train.dataset.root` is the folder of Data/CLS-LOC and Annotations/CLS-LOC.
"""

import detectron2.data.transforms as T
from detectron2.config import LazyCall as L
from detectron2.data import build_detection_test_loader
from omegaconf import OmegaConf

from imted.data.single_object import SingleObjectMapper, read_single_object
from imted.data.train_loader import build_train_loader
from imted.evaluation import SingleObjectEvaluator

dataloader = OmegaConf.create()
dataloader.train = L(build_train_loader)(
    dataset=L(read_single_object)(
        root="datasets/imagenet", split="train", num_classes="${model.num_classes}"
    ),
    mapper=L(SingleObjectMapper)(
        is_train=True,
        augmentations=[L(T.Resize)(shape=(224, 224)), L(T.RandomFlip)(horizontal=True)],
        image_format="RGB",
    ),
    total_batch_size=256,
    num_workers=8,
    seed="${train.seed}",
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
