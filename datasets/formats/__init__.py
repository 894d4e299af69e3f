"""From the formats that annotation tools write to COCO json.

Read here and not by a library, since those known to us (supervision 0.31) draw polygons into
bitmaps and trace these again: a triangle of 291.6 pixels became one of 342, where COCO's own
counting gives 286. Their boxes equal ours.
"""

from .labelme import read_labelme
from .split import split_dataset
from .voc import read_voc
from .yolo import read_yolo

__all__ = ["read_labelme", "read_voc", "read_yolo", "split_dataset"]
