"""COCO's images and augmentation, annotations from json files of one's own: parts of COCO's.

As in custom.py the files are checked first, and the number of classes comes from them.
"""

from .coco import dataloader
from .custom import dataset

dataset.update(
    train_images="datasets/coco/train2017",
    val_json="datasets/coco/annotations/instances_val2017.json",
    val_images="datasets/coco/val2017",
)
dataloader.train.dataset.names = "custom_train"
dataloader.test.dataset.names = "custom_val"
