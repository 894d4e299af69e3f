"""imTED Mask R-CNN, ViT-B, on your own COCO-format json, for one GPU of 24 GB.

python train_net.py --config-file configs/custom/imted_mask_rcnn_vit_base.py \
    dataset.train_json=train.json dataset.train_images=images \
    dataset.val_json=val.json dataset.val_images=images

16 images an iteration, as on COCO, in 8 steps of 2. On more GPUs, fewer steps:
`--num-gpus 4 dataloader.train.total_batch_size=8 train.accumulation_steps=2`.
"""

from ..common.custom import dataloader, dataset, lr_multiplier, model, optimizer, train

train.output_dir = "output/custom_vit_base"
dataloader.train.total_batch_size = 2
train.accumulation_steps = 8
