"""Tiny imTED Mask R-CNN on your own COCO-format json; it runs on a laptop.

python train_net.py --config-file configs/custom/imted_mask_rcnn_vit_tiny.py \
    dataset.train_json=train.json dataset.train_images=images \
    dataset.val_json=val.json dataset.val_images=images
"""

from ..common.custom_tiny import dataloader, dataset, lr_multiplier, model, optimizer, train
