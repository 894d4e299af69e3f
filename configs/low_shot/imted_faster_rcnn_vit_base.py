"""imTED Faster R-CNN, ViT-B, on 1, 2, 5 or 10 % of COCO's images.

We could not find the paper's schedule for this experiment. This one has the iterations of 36
epochs of 10 %, whatever the percentage. The json files are those of datasets/prepare_low_shot.py:

python train_net.py --config-file configs/low_shot/imted_faster_rcnn_vit_base.py \
    low_shot.percent=1 low_shot.seed=2
"""

from ..common.boxes_only import boxes_only
from ..common.coco_3x import lr_multiplier, optimizer, train
from ..common.constants import DATASETS
from ..common.data.coco_json import dataloader, dataset
from ..common.models.imted_faster_rcnn_base import model
from ..common.schedule import ITERATIONS_PER_EPOCH

low_shot = dict(
    percent=10,  # of the images
    seed=0,  # of their choice
)
dataloader.train.mapper.update(boxes_only.mapper)
dataset.train_json = (
    DATASETS + "/coco_low_shot/${low_shot.percent}percent_seed${low_shot.seed}.json"
)

train.max_iter = 36 * ITERATIONS_PER_EPOCH // 10
lr_multiplier.warmup_length = 500 / train.max_iter
train.output_dir = "output/low_shot/${low_shot.percent}percent_seed${low_shot.seed}"
