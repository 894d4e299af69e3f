"""Any COCO-format json, for small images on a small machine: four paths are all it needs.

The json files are checked before training; the number of classes and whether there are masks
come from them.
"""

import detectron2.data.transforms as T
from detectron2.config import LazyCall as L

from .custom_photos import dataloader, dataset

dataloader.train.mapper.augmentations = [
    L(T.RandomFlip)(horizontal=True),
    L(T.ResizeShortestEdge)(
        short_edge_length=(320, 352, 384, 416, 448), sample_style="choice", max_size=640
    ),
]
# Without crops, boxes stay as they are annotated.
dataloader.train.mapper.update(instance_mask_format="bitmask", recompute_boxes=False)
dataloader.train.total_batch_size = 2
dataloader.train.num_workers = 2

dataloader.test.mapper.augmentations = [
    L(T.ResizeShortestEdge)(short_edge_length=384, max_size=640)
]
dataloader.test.num_workers = 2
