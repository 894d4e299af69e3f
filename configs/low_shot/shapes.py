"""Low-shot training on a laptop: the quickstart on 10 % of the synthetic images.

python datasets/prepare_low_shot.py --json datasets/shapes/train.json \
    --output datasets/shapes_low_shot
"""

from ..quickstart import dataloader, dataset, lr_multiplier, model, optimizer, train

dataset.train_json = "datasets/shapes_low_shot/10percent_seed0.json"
train.output_dir = "output/low_shot/shapes"
