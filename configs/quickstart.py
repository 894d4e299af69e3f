"""The embedded default: a tiny imTED with masks on the synthetic shapes, minutes on a CPU.

`make demo` generates the images (datasets/README.md has the command) and runs this.
"""

from .common.constants import DATASETS
from .common.shapes import dataloader, dataset, lr_multiplier, model, optimizer, train

dataset.update(
    train_json=DATASETS + "/shapes/train.json",
    train_images=DATASETS + "/shapes/train",
    val_json=DATASETS + "/shapes/val.json",
    val_images=DATASETS + "/shapes/val",
)

# No object is smaller than 48 pixels: the finest level of the pyramid would be work for nothing.
model.backbone.scale_factors = (2.0, 1.0, 0.5)
model.backbone.top_block = None
model.proposal_generator.in_features = ["p3", "p4", "p5"]
model.proposal_generator.anchor_generator.sizes = [[48], [96], [192]]
model.proposal_generator.anchor_generator.strides = [8, 16, 32]
model.roi_heads.box_in_features = ["p3", "p4", "p5", "last_feat"]
model.roi_heads.mask_in_features = ["p3", "p4", "p5"]
model.roi_heads.box_pooler.pyramid_pooler.scales = (1 / 8, 1 / 16, 1 / 32)

# The shapes overlap little: two boxes of a class that do are mostly one object.
model.roi_heads.box_predictor.test_nms_thresh = 0.4

train.output_dir = "output/quickstart"
train.max_iter = 2950
train.eval_period = 0
