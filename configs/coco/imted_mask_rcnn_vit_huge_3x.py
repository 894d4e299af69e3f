"""imTED Mask R-CNN, ViT-H, COCO, 36 epochs; the authors have none of this size.

MAE's ViT-H has patches of 14 pixels; its patch embedding is resampled to 16, as ViTDet's is.
Drop path and layer decay are those of ViTDet's ViT-H.
"""

from ..common.coco_3x import dataloader, lr_multiplier, optimizer, train
from ..common.models.imted_mask_rcnn_base import model
from ..common.sizes import huge

model.backbone.net.update(huge.encoder, drop_path_rate=huge.drop_path_rate)
model.roi_heads.box_head.update(huge.decoder)
optimizer.params.layer_decay = 0.9

train.init_checkpoint = "https://dl.fbaipublicfiles.com/mae/pretrain/mae_pretrain_vit_huge_full.pth"
train.output_dir = "output/imted_mask_rcnn_vit_huge_3x"
