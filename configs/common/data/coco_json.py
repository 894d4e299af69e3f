"""COCO's images and augmentation, annotations from json files of one's own: parts of COCO's.

The files are checked first. Folders are under $DETECTRON2_DATASETS, `datasets` by default.
"""

from detectron2.config import LazyCall as L

from imted.data import CocoDataset

from ..constants import DATASETS
from .coco import dataloader

dataset = L(CocoDataset)(
    train_json="",
    train_images=DATASETS + "/coco/train2017",
    val_json=DATASETS + "/coco/annotations/instances_val2017.json",
    val_images=DATASETS + "/coco/val2017",
    masks="${dataloader.train.mapper.use_instance_mask}",
    output_dir="${train.output_dir}",
)
dataloader.train.dataset.update(names="custom_train", source="${dataset}")
dataloader.test.dataset.update(names="custom_val", source="${dataset}")
