"""Images without labels: a folder, or those that a COCO json names."""

from detectron2.config import LazyCall as L
from omegaconf import OmegaConf

from imted.data.images import PretrainMapper, list_images
from imted.data.train_loader import build_train_loader

from ..constants import DATASETS

dataloader = OmegaConf.create()
dataloader.train = L(build_train_loader)(
    dataset=L(list_images)(images=DATASETS + "/coco/train2017", json_file=""),
    mapper=L(PretrainMapper)(image_size=224, min_scale=0.2),
    total_batch_size=1024,
    num_workers=8,
)
