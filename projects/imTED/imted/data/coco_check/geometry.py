"""Whether an annotation's box, polygons and RLE are of a form that Detectron2 can use."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pycocotools.mask as mask_util

FAR = 100
"""How often the longer side of its image a coordinate may be away."""
MAX_PIXELS = 10**9
"""Of a mask."""
Size = tuple[int, int]  # width and height of an image in pixels


def is_box(value: Any) -> bool:
    """Tell whether a value is four finite numbers [x, y, width, height], of an area or not."""
    return isinstance(value, list) and len(value) == 4 and are_finite(value)


def are_finite(values: Iterable) -> bool:
    """Tell whether all values are numbers, and neither infinite nor NaN."""
    try:
        return all(map(math.isfinite, values))
    except (TypeError, OverflowError):  # text or a list where a number is due; a huge integer
        return False


def is_near(values: Iterable[float], size: Size | None) -> bool:
    """Tell whether coordinates are near an image; drawing a polygon takes memory by its length."""
    return max(map(abs, values), default=0) <= FAR * max(size or (1000, 1000))


def clip_box(box: list[float], size: Size | None) -> tuple[list[float], float]:
    """Clip a box [x, y, width, height] to its image.

    Args:
        box: In pixels.
        size: The image's; None where it isn't known, and only its origin is.

    Returns:
        The box within, whose width or height is 0 or less where nothing is left of it; and by how
        many pixels the other reaches outside.
    """
    x, y, w, h = box
    width, height = size or (math.inf, math.inf)
    left, top, right, bottom = max(x, 0), max(y, 0), min(x + w, width), min(y + h, height)
    outside = max(left - x, top - y, x + w - right, y + h - bottom)
    return [left, top, right - left, bottom - top], outside


def usable_part(mask: Any, size: Size | None) -> Any:
    """Return what can be used of a segmentation: an RLE, or the good ones of its polygons.

    Args:
        mask: As it stands in the json.
        size: The image's; None where it isn't known, and any place is taken to be inside.

    Returns:
        None where nothing can be.
    """
    if isinstance(mask, dict):
        return mask if _is_usable_rle(mask, size) else None
    polygons = mask if isinstance(mask, list) else []
    return [polygon for polygon in polygons if _is_usable_polygon(polygon, size)] or None


def box_of_mask(mask: Any) -> list[float]:
    """Return the box [x, y, width, height] of a segmentation that can be used."""
    if isinstance(mask, list):
        points = np.concatenate([np.reshape(np.array(p, float), (-1, 2)) for p in mask])
        low = points.min(axis=0)
        return [*low.tolist(), *(points.max(axis=0) - low).tolist()]
    if isinstance(mask["counts"], list):
        mask = mask_util.frPyObjects(mask, *mask["size"])
    return mask_util.toBbox(mask).tolist()


def _is_usable_rle(mask: dict, size: Size | None) -> bool:
    """Tell whether a run-length encoding, its counts a list or text, is of the image's size.

    It must have pixels, be readable, and reach to the last pixel.
    """
    stated: Any = mask.get("size")
    counts = mask.get("counts")
    if size is not None and stated != [size[1], size[0]]:
        return False
    try:
        if stated[0] * stated[1] > MAX_PIXELS:
            return False
        if isinstance(counts, list):
            if min(counts) < 0 or sum(counts) != stated[0] * stated[1]:
                return False
            mask = mask_util.frPyObjects(mask, *stated)
        usable = bool(mask_util.area(mask) > 0)
        counts, decoded = mask["counts"], mask_util.decode(mask)
        text = counts if isinstance(counts, str) else counts.decode()
        if mask_util.encode(decoded)["counts"].decode() != text:  # written in another way, or short
            usable = usable and sum(_runs(text)) == stated[0] * stated[1]
    except (TypeError, ValueError, KeyError, AttributeError):
        return False
    return usable


def _runs(text: str) -> list[int]:
    """Return the lengths of a compressed RLE's runs, as pycocotools' maskApi writes them.

    Each is a number of 5 bits a character, the lowest first; a 6th bit says that it goes on. From
    the fourth on it is the difference to the run before the last.
    """
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        value |= (bits & 0x1F) << shift
        shift += 5
        if not bits & 0x20:
            if bits & 0x10:  # a negative number
                value -= 1 << shift
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    return runs


def _is_usable_polygon(points: Any, size: Size | None) -> bool:
    """Tell whether [x1, y1, x2, y2, …] has three points or more, none far, and covers a pixel."""
    if not isinstance(points, list) or len(points) < 6 or len(points) % 2 or not are_finite(points):
        return False
    if not is_near(points, size):
        return False
    if size is None:
        return True
    encoded = mask_util.frPyObjects([points], size[1], size[0])
    return bool(mask_util.area(encoded)[0] > 0)
