"""imTED Mask R-CNN, ViT-B, COCO, 36 epochs: 53.3 box AP and 46.4 mask AP in the authors' table.

16 images an iteration over all GPUs. On fewer GPUs keep the 16 and accumulate, e.g. on one:
`dataloader.train.total_batch_size=2 train.accumulation_steps=8`; schedule and learning rate stay.
"""

from ..common.data.coco import dataloader
from ..common.models.imted_mask_rcnn import model
from ..common.optim import optimizer
from ..common.schedule import ITERATIONS_PER_EPOCH
from ..common.schedule import coco_3x as lr_multiplier
from ..common.sizes import base
from ..common.train import train

model.backbone.net.update(base.encoder, drop_path_rate=base.drop_path_rate)
model.backbone.net.use_act_checkpoint = True
model.roi_heads.box_head.update(base.decoder)

train.init_checkpoint = "https://dl.fbaipublicfiles.com/mae/pretrain/mae_pretrain_vit_base_full.pth"
train.output_dir = "output/imted_mask_rcnn_vit_base_3x"
train.max_iter = 36 * ITERATIONS_PER_EPOCH
train.eval_period = ITERATIONS_PER_EPOCH
train.checkpointer.period = ITERATIONS_PER_EPOCH
train.amp.enabled = True
