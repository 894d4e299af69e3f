"""MAE pre-training of ViT-B (He et al., 2022): batch 1024, learning rate 1.5e-4 x 1024 / 256.

The batch is over all GPUs and accumulation steps: with 8 GPUs of 32 images each, set
`dataloader.train.total_batch_size=256 train.accumulation_steps=4`. The schedule is 1600 epochs of
COCO's train2017; a folder of your own wants `train.max_iter` to fit it.
"""

from ..common.pretrain import dataloader, lr_multiplier, model, optimizer, train

train.output_dir = "output/mae_vit_base"
