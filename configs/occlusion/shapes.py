"""Hidden objects of the synthetic shapes: recall of two lists, and AP by hidden part.

The shapes say how much of them is hidden.

python train_net.py --config-file configs/occlusion/shapes.py --eval-only \
    train.init_checkpoint=output/quickstart/model_final.pth
"""

from ..common.models.imted_mask_rcnn_large_shapes import model
from ..common.shapes import dataloader, dataset, lr_multiplier, optimizer, train
from .common import by_hidden_part as _by_hidden_part
from .common import evaluator as _evaluator
from .common import occlusion

_evaluator.evaluators.append(_by_hidden_part)
dataloader.evaluator = _evaluator
train.output_dir = "output/occlusion/shapes"
