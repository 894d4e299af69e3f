"""Base training on a laptop: the quickstart on four of the six synthetic shapes.

python datasets/prepare_few_shot.py --json datasets/shapes/train.json \
    --val-json datasets/shapes/val.json --novel ring cross --shots 10 --seeds 0 \
    --output datasets/shapes_few_shot
"""

from ..common.constants import DATASETS
from ..common.models.imted_mask_rcnn_large_shapes import model
from ..common.shapes import dataloader, dataset, lr_multiplier, optimizer, train

dataset.train_json = DATASETS + "/shapes_few_shot/base_train.json"
dataset.val_json = DATASETS + "/shapes_few_shot/base_val.json"
model.roi_heads.num_classes = 4
train.output_dir = "output/few_shot/shapes_base"
