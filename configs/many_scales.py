"""The variants on shapes of many scales: tiny Faster R-CNN, objects of 12 to 130 pixels.

    python datasets/prepare_shapes.py --output datasets/shapes_scales --class-colours

An object of 28 pixels covers 7 cells of p2, and not 2 of the encoder's feature.
"""

from .common.boxes_only import boxes_only
from .common.constants import DATASETS
from .common.models.imted_mask_rcnn_tiny import model
from .common.shapes import dataloader, dataset, lr_multiplier, optimizer, train
from .common.small_steps import small_steps

dataset.update(
    train_json=DATASETS + "/shapes_scales/train.json",
    train_images=DATASETS + "/shapes_scales/train",
    val_json=DATASETS + "/shapes_scales/val.json",
    val_images=DATASETS + "/shapes_scales/val",
)
model.proposal_generator.update(small_steps.proposal_generator)
model.roi_heads.update(small_steps.roi_heads)
model.roi_heads.box_predictor.update(small_steps.box_predictor)
model.roi_heads.update(boxes_only.roi_heads)
dataloader.train.mapper.update(boxes_only.mapper)

train.output_dir = "output/many_scales"
train.max_iter = 2500
train.eval_period = 500
