"""What turns a Mask R-CNN of this project into a Faster R-CNN: values of two groups."""

from types import SimpleNamespace

boxes_only = SimpleNamespace(
    roi_heads=dict(mask_in_features=None, mask_pooler=None, mask_head=None),
    mapper=dict(use_instance_mask=False, recompute_boxes=False),
)
