"""Hidden objects of your own COCO-format json: recall of two lists, and AP by hidden part.

python train_net.py --config-file configs/occlusion/custom.py --eval-only \
    train.init_checkpoint=output/custom/model_best.pth \
    dataset.val_json=val.json dataset.val_images=images

The json needs masks, from which it is estimated how much of an object is hidden. Lists of your own:
`occlusion.occluded=… occlusion.separated=…`.
"""

from ..common.custom_tiny import dataloader, dataset, lr_multiplier, model, optimizer, train
from .common import by_hidden_part as _by_hidden_part
from .common import evaluator as _evaluator
from .common import occlusion

_evaluator.evaluators.append(_by_hidden_part)
dataloader.evaluator = _evaluator
train.output_dir = "output/occlusion/custom"
