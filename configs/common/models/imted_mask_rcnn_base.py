"""imTED Mask R-CNN on ViT-B, with the drop path of training on COCO."""

from ..sizes import base
from .imted_mask_rcnn import model

model.backbone.net.update(base.encoder, drop_path_rate=base.drop_path_rate)
model.backbone.net.use_act_checkpoint = True
model.roi_heads.box_head.update(base.decoder)
