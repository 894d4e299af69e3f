"""COCO 2017 with test images resized as for the released imTED, by OpenCV as in mmdetection."""

from detectron2.config import LazyCall as L

from imted.data.resize import OpenCVResizeShortestEdge

from .coco import dataloader

dataloader.test.mapper.augmentations = [
    L(OpenCVResizeShortestEdge)(short_edge_length=800, max_size=1333)
]
