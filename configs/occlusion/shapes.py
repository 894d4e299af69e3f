"""Hidden objects of the synthetic shapes: recall of two lists, and AP by hidden part.

python train_net.py --config-file configs/occlusion/shapes.py --eval-only \
    train.init_checkpoint=output/quickstart/model_final.pth

The shapes say how much of them is hidden. `dataset.val_json=… dataset.val_images=…` takes any other
COCO json with masks, for which that is estimated.
"""

from detectron2.config import LazyCall as L

from imted.evaluation import OcclusionBinsEvaluator

from ..common.data.occlusion import evaluator, occlusion
from ..quickstart import dataloader, dataset, lr_multiplier, model, optimizer, train

evaluator.evaluators.append(
    L(OcclusionBinsEvaluator)(dataset_name="${dataloader.test.dataset.names}")
)
dataloader.evaluator = evaluator
train.output_dir = "output/occlusion/shapes"
