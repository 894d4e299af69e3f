"""imTED Faster R-CNN, ViT-B, on 10 % of COCO's images.

We could not find the paper's schedule for this experiment. This one has the iterations of 36
epochs of the 10 %, whatever the percentage. The json files are those of
datasets/prepare_low_shot.py; other percentages and seeds:
dataset.train_json=datasets/coco_low_shot/1percent_seed1.json.
"""

from ..coco.imted_faster_rcnn_vit_base_3x import dataloader, lr_multiplier, model, optimizer, train
from ..common.data.custom import dataset
from ..common.schedule import ITERATIONS_PER_EPOCH

dataset.update(
    train_json="datasets/coco_low_shot/10percent_seed0.json",
    train_images="datasets/coco/train2017",
    val_json="datasets/coco/annotations/instances_val2017.json",
    val_images="datasets/coco/val2017",
)
dataloader.train.dataset.names = "custom_train"
dataloader.test.dataset.names = "custom_val"

train.max_iter = 36 * ITERATIONS_PER_EPOCH // 10
lr_multiplier.warmup_length = 500 / train.max_iter
train.output_dir = "output/low_shot/imted_faster_rcnn_vit_base"
