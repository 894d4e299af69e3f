"""Low-shot training on a laptop: the quickstart on 10 % of the synthetic images.

python datasets/prepare_low_shot.py --json datasets/shapes/train.json \
    --output datasets/shapes_low_shot
"""

from ..common.constants import DATASETS
from ..common.models.imted_mask_rcnn_large_shapes import model
from ..common.shapes import dataloader, dataset, lr_multiplier, optimizer, train

low_shot = dict(
    percent=10,  # of the images
    seed=0,  # of their choice
)
dataset.train_json = (
    DATASETS + "/shapes_low_shot/${low_shot.percent}percent_seed${low_shot.seed}.json"
)
train.output_dir = "output/low_shot/shapes_${low_shot.percent}percent_seed${low_shot.seed}"
