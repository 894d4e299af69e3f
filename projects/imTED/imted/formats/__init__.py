"""From the formats that annotation tools write to COCO json."""

from .labelme import read_labelme
from .split import split_dataset
from .voc import read_voc
from .yolo import read_yolo

__all__ = ["read_labelme", "read_voc", "read_yolo", "split_dataset"]
