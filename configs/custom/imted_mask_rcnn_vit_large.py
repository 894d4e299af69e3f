"""imTED Mask R-CNN, ViT-L, on your own COCO-format json, for one GPU of 40 GB.

16 steps of 1 image an iteration; see imted_mask_rcnn_vit_base.py.
"""

from ..common.custom import dataloader, dataset, lr_multiplier, model, optimizer, train
from ..common.sizes import large

model.backbone.net.update(large.encoder, drop_path_rate=large.drop_path_rate)
model.roi_heads.box_head.update(large.decoder)

train.init_checkpoint = (
    "https://dl.fbaipublicfiles.com/mae/pretrain/mae_pretrain_vit_large_full.pth"
)
train.output_dir = "output/custom_vit_large"
dataloader.train.total_batch_size = 1
train.accumulation_steps = 16
