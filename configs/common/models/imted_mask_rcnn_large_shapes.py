"""The demo's detector: a tiny imTED with masks, for six classes of shapes that are large."""

from ..small_steps import small_steps
from .imted_mask_rcnn_tiny import model

model.proposal_generator.update(small_steps.proposal_generator)
model.roi_heads.update(small_steps.roi_heads)
model.roi_heads.box_predictor.update(small_steps.box_predictor)

# No object is smaller than 48 pixels: the finest level of the pyramid would be work for nothing.
model.backbone.scale_factors = (2.0, 1.0, 0.5)
model.backbone.top_block = None
model.proposal_generator.in_features = ["p3", "p4", "p5"]
model.proposal_generator.anchor_generator.sizes = [[48], [96], [192]]
model.proposal_generator.anchor_generator.strides = [8, 16, 32]
model.roi_heads.box_in_features = ["p3", "p4", "p5", "last_feat"]
model.roi_heads.mask_in_features = ["p3", "p4", "p5"]
model.roi_heads.box_pooler.pyramid_pooler.scales = (1 / 8, 1 / 16, 1 / 32)

# The shapes overlap little: two boxes of a class that do are mostly one object.
model.roi_heads.box_predictor.test_nms_thresh = 0.4
