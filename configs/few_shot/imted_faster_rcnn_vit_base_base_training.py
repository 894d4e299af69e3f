"""imTED Faster R-CNN, ViT-B: base training on COCO's 60 base classes, 24 epochs.

50.6 box AP on the base classes in the authors' table. The json files are those of
datasets/prepare_few_shot.py; with FsDet's, `dataset.train_images=datasets/coco/trainval2014
dataset.val_images=datasets/coco/val2014`.
"""

from detectron2.config import LazyCall as L
from detectron2.solver import WarmupParamScheduler
from fvcore.common.param_scheduler import MultiStepParamScheduler

from ..common.boxes_only import boxes_only
from ..common.coco_3x import optimizer, train
from ..common.constants import DATASETS
from ..common.data.coco_json import dataloader, dataset
from ..common.models.imted_faster_rcnn_base import model
from ..common.schedule import ITERATIONS_PER_EPOCH

dataloader.train.mapper.update(boxes_only.mapper)
dataset.train_json = DATASETS + "/coco_few_shot/base_train.json"
dataset.val_json = DATASETS + "/coco_few_shot/base_val.json"

# Epochs of the whole of COCO: images without a base class are left out, so these are a few more.
lr_multiplier = L(WarmupParamScheduler)(
    scheduler=L(MultiStepParamScheduler)(
        values=[1.0, 0.1, 0.01], milestones=[18, 22], num_updates=24
    ),
    warmup_factor=0.001,
    warmup_length=500 / (24 * ITERATIONS_PER_EPOCH),
)
model.roi_heads.num_classes = 60
train.max_iter = 24 * ITERATIONS_PER_EPOCH
train.output_dir = "output/few_shot/base_training"
