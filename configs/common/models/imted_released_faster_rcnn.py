"""imTED Faster R-CNN as its authors released it, ViT-B: their Mask R-CNN without masks."""

from .imted_released_mask_rcnn import model

model.roi_heads.mask_in_features = None
model.roi_heads.mask_pooler = None
model.roi_heads.mask_head = None
