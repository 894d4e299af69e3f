"""Whether an annotation's box, polygons and RLE are of a form that Detectron2 can use."""

import math
from collections.abc import Iterable
from typing import Any

import pycocotools.mask as mask_util


def is_box(value: Any) -> bool:
    """Tell whether a value is four finite numbers [x, y, width, height], of an area or not."""
    return isinstance(value, list) and len(value) == 4 and are_finite(value)


def usable_polygons(polygons: list, image: dict) -> list[list[float]]:
    """Return the polygons of three points or more that cover a pixel of the image.

    Args:
        polygons: Each a list [x1, y1, x2, y2, …] in pixels, or whatever stands there instead.
        image: COCO's entry; without width and height, any place is taken to be inside.
    """
    return [points for points in polygons if _is_polygon(points) and _has_pixels(points, image)]


def is_usable_rle(mask: dict, image: dict) -> bool:
    """Tell whether a run-length encoding, its counts a list or text, is of the image's size.

    It must have pixels and be readable; that text is too short can't be seen.
    """
    size: Any = mask.get("size")
    counts = mask.get("counts")
    if "width" in image and size != [image["height"], image["width"]]:
        return False
    try:
        if isinstance(counts, list):
            if min(counts) < 0 or sum(counts) != size[0] * size[1]:
                return False
            mask = mask_util.frPyObjects(mask, *size)
        usable = bool(mask_util.area(mask) > 0)
        mask_util.decode(mask)
    except (TypeError, ValueError, KeyError, AttributeError):
        return False
    return usable


def are_finite(values: Iterable) -> bool:
    """Tell whether all values are numbers, and neither infinite nor NaN."""
    try:
        return all(map(math.isfinite, values))
    except (TypeError, OverflowError):  # text or a list where a number is due; a huge integer
        return False


def _is_polygon(points: Any) -> bool:
    return (
        isinstance(points, list)
        and len(points) >= 6
        and len(points) % 2 == 0
        and are_finite(points)
    )


def _has_pixels(points: list[float], image: dict) -> bool:
    """Tell whether COCO's rasterization leaves anything of a polygon."""
    if "width" not in image:
        return True
    encoded = mask_util.frPyObjects([points], image["height"], image["width"])
    return bool(mask_util.area(encoded)[0] > 0)
