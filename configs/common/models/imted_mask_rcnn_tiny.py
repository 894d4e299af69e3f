"""imTED Mask R-CNN on the tiny ViT, for images of a few hundred pixels and for a laptop's CPU."""

from ..sizes import tiny
from .imted_mask_rcnn import model

model.backbone.net.update(tiny.encoder)
model.roi_heads.box_head.update(tiny.decoder)

# The pyramid, RPN and mask head cost more than a tiny encoder unless they shrink with it.
model.backbone.out_channels = 64
model.roi_heads.mask_head.conv_dims = ["${....backbone.out_channels}"] * 3

# Objects of 8 to 256 pixels.
model.proposal_generator.anchor_generator.sizes = [[12], [24], [48], [96], [192]]
model.roi_heads.box_pooler.pyramid_pooler.canonical_box_size = 112

# RoIs are what the decoder is paid for by the piece: 49 tokens each.
model.proposal_generator.batch_size_per_image = 128
model.proposal_generator.pre_nms_topk = (500, 500)
model.proposal_generator.post_nms_topk = (300, 300)
model.roi_heads.batch_size_per_image = 64
