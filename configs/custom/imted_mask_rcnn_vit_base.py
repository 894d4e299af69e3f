"""imTED Mask R-CNN, ViT-B, on your own COCO-format json, for one GPU of 24 GB.

python train_net.py --config-file configs/custom/imted_mask_rcnn_vit_base.py \
    dataset.train_json=train.json dataset.train_images=images \
    dataset.val_json=val.json dataset.val_images=images

16 images an iteration, as on COCO, in 8 steps of 2. On more GPUs, fewer steps:
`--num-gpus 4 dataloader.train.total_batch_size=8 train.accumulation_steps=2`.
"""

from detectron2.config import LazyCall as L

from imted.data import count_classes

from ..common.data.custom_photos import dataloader, dataset
from ..common.models.imted_mask_rcnn import model
from ..common.optim import optimizer
from ..common.schedule import cosine as lr_multiplier
from ..common.sizes import base
from ..common.train import train

model.backbone.net.update(base.encoder, drop_path_rate=base.drop_path_rate)
model.backbone.net.use_act_checkpoint = True
model.roi_heads.decoder.update(base.decoder)
model.roi_heads.num_classes = L(count_classes)(dataset="${dataset}")

train.init_checkpoint = "https://dl.fbaipublicfiles.com/mae/pretrain/mae_pretrain_vit_base_full.pth"
train.output_dir = "output/custom_vit_base"
train.epochs = 36
train.eval_period = 1
train.validation_loss = True
train.validation_images = 4
train.checkpointer.period = 1
train.amp.enabled = True
dataloader.train.total_batch_size = 2
train.accumulation_steps = 8
