"""imTED Mask R-CNN as its authors released it, ViT-B; imted_mask_rcnn.py with their choices."""

from imted.modeling import ReleasedPyramid

from .imted_mask_rcnn import model

model.backbone._target_ = ReleasedPyramid
model.backbone.norm = "SyncBN"  # between the upsamplings; "BN" to train in processes on CPUs
model.backbone.encoder_feature = "${.net.out_feature}"
model.backbone.net.update(interpolate_offset=0.1, use_act_checkpoint=True)
model.roi_heads.box_head.interpolate_offset = 0.1

# Proposals without area are kept; they take places among the 1000.
model.proposal_generator.min_box_size = -1.0
