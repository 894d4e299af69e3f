"""COCO 2017 as the released imTED reads it, as far as values of the config can say it.

Test images are resized by OpenCV, as in mmdetection. In training a cropped box is the annotated
one, clipped; mask targets come from bitmaps; the first resize of the crop branch is bounded, too.
"""

from detectron2.config import LazyCall as L

from imted.data.resize import OpenCVResizeShortestEdge

from .coco import dataloader

dataloader.train.mapper.update(recompute_boxes=False, instance_mask_format="bitmask")
dataloader.train.mapper.augmentations[1].tfm_or_aug.augs[0].max_size = 1333
dataloader.test.mapper.augmentations = [
    L(OpenCVResizeShortestEdge)(short_edge_length=800, max_size=1333)
]
