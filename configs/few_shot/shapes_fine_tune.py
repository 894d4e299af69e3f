"""Fine-tuning on a laptop: K instances of each of the six synthetic shapes, two of them novel.

Weights come from the base training:

python tools/extend_classes.py output/few_shot/shapes_base/model_final.pth \
    output/few_shot/shapes_extended.pth --base-json datasets/shapes_few_shot/base_train.json \
    --json datasets/shapes_few_shot/10shot_seed0.json
"""

from ..common.constants import DATASETS
from ..common.models.imted_mask_rcnn_large_shapes import model
from ..common.shapes import dataloader, dataset, lr_multiplier, optimizer, train
from .common import evaluator as _evaluator
from .common import few_shot

dataset.train_json = DATASETS + "/shapes_few_shot/${few_shot.setting}_seed${few_shot.seed}.json"
_evaluator.novel_classes = ["ring", "cross"]
dataloader.evaluator = _evaluator

optimizer.lr = 2e-3
optimizer.params.layer_decay = 0.8
optimizer.params.decay_decoder = True
train.frozen = ["backbone.net"]
few_shot.schedule = {f"{shots}shot": dict(max_iter=400) for shots in (1, 2, 3, 5, 10)}
few_shot.schedule["30shot"] = dict(max_iter=1200)  # 400 are too few
train.max_iter = "${few_shot.schedule.${few_shot.setting}.max_iter}"
train.best_metric = "bbox/nAP"
train.init_checkpoint = "output/few_shot/shapes_extended.pth"
train.output_dir = "output/few_shot/shapes_${few_shot.setting}_seed${few_shot.seed}"
