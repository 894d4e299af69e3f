"""imTED Mask R-CNN, ViT-B, as its authors released it: 53.3 box AP and 46.4 mask AP.

python train_net.py --config-file configs/released/imted_mask_rcnn_vit_base.py --eval-only \
    train.init_checkpoint=their.pth
"""

from ..common.models.imted_released_mask_rcnn import model
from ..common.released_3x import dataloader, lr_multiplier, optimizer, train
from ..common.sizes import base

model.backbone.net.update(base.encoder, drop_path_rate=base.drop_path_rate)
model.roi_heads.box_head.update(base.decoder)

train.output_dir = "output/released/imted_mask_rcnn_vit_base"
