"""Single-object localisation on a laptop: the tiny MAE, images of one synthetic shape each.

python datasets/prepare_single_object.py --class-colours
python train_net.py --config-file configs/single_object/shapes.py model.variant=random_decoder
"""

from ..common.constants import DATASETS
from ..common.sizes import tiny
from .common import dataloader, lr_multiplier, model, optimizer, train

model.num_classes = 6
model.encoder.update(tiny.encoder)
model.decoder.update(tiny.decoder)

dataloader.train.dataset.root = DATASETS + "/shapes_single_object"
dataloader.train.mapper.augmentations[0].shape = (192, 192)
dataloader.train.total_batch_size = 16
dataloader.train.num_workers = 2
dataloader.test.num_workers = 2

optimizer.lr = 5e-4
train.init_checkpoint = "imted://weights/mae_vit_tiny_shapes.pth"
train.output_dir = "output/single_object/shapes_${model.variant}_seed${train.seed}"
train.max_iter = 1500
train.eval_period = 0
train.amp.enabled = False
train.clip_grad.enabled = True
