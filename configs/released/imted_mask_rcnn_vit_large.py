"""imTED Mask R-CNN, ViT-L, as its authors released it: 55.5 box AP and 48.1 mask AP.

Their pyramid reads the 12th of the 24 blocks; the decoder reads the last.
"""

from ..common.models.imted_released_mask_rcnn import model
from ..common.released_3x import dataloader, lr_multiplier, optimizer, train
from ..common.sizes import large

model.backbone.net.update(large.encoder, drop_path_rate=large.drop_path_rate)
model.backbone.net.early_blocks = [12]
model.backbone.in_feature = "block12"
model.roi_heads.box_head.update(large.decoder)

train.init_checkpoint = (
    "https://dl.fbaipublicfiles.com/mae/pretrain/mae_pretrain_vit_large_full.pth"
)
train.output_dir = "output/released/imted_mask_rcnn_vit_large"
