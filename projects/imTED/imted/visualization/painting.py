"""Objects painted into a picture: masks, boxes, and labels that don't cover each other."""

import functools
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import pycocotools.mask as mask_util
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]  # RGB
Rectangle = tuple[int, int, int, int]  # left, top, right, bottom in pixels of the picture

FILLING = 0.45
"""How much of a mask's colour covers the image."""
SIDE_BY_FONT = 55
"""The picture's longer side, in heights of its letters."""
PADDING = 2


class PaintedObject(NamedTuple):
    """An object to paint.

    Attributes:
        box: XYXY in pixels of the image; None paints none.
        colour: Of its mask, its box, and behind its label.
        label: What is written at it; "" for nothing.
        mask: Polygons, COCO RLE or bitmap (H, W) of the image's size; None for an object without.
    """

    box: Sequence[float] | None
    colour: Colour
    label: str = ""
    mask: Any = None


def paint(image: np.ndarray, objects: Sequence[PaintedObject], scale: float = 1.0) -> np.ndarray:
    """Paint objects: the masks, the smallest last, then all boxes, then all labels.

    Args:
        image: RGB (H, W, 3), uint8; stays as it is.
        objects: In its pixels. An object without a box has its label at its mask.
        scale: By which the picture is larger than the image.

    Returns:
        RGB picture (H', W', 3), uint8.
    """
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    picture = cv2.resize(np.ascontiguousarray(image), (width, height), interpolation=_filter(scale))
    thickness = max(1, round(max(width, height) / 500))
    masks = [_bitmap(item.mask, image.shape[:2]) for item in objects]
    areas = [0 if mask is None else int(np.count_nonzero(mask)) for mask in masks]
    for index in np.argsort(areas)[::-1]:
        if areas[index]:
            _paint_mask(picture, masks[index], objects[index].colour, scale, thickness)
    frames = [_frame(item, mask, scale) for item, mask in zip(objects, masks, strict=True)]
    for item, frame in zip(objects, frames, strict=True):
        if item.box is not None and frame is not None:
            cv2.rectangle(picture, frame[:2], frame[2:], item.colour, thickness)
    return _paint_labels(picture, objects, frames)


def _filter(scale: float) -> int:
    return cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR


def _bitmap(mask: Any, size: tuple[int, ...]) -> np.ndarray | None:
    """Return a mask as (H, W), uint8."""
    if mask is None or isinstance(mask, np.ndarray):
        return None if mask is None else mask.astype(np.uint8)
    if isinstance(mask, list):
        mask = mask_util.merge(mask_util.frPyObjects(mask, *size))
    elif isinstance(mask["counts"], list):
        mask = mask_util.frPyObjects(mask, *mask["size"])
    return mask_util.decode(mask)


def _paint_mask(
    picture: np.ndarray, mask: np.ndarray, colour: Colour, scale: float, thickness: int
) -> None:
    """Lay a colour over a mask's pixels, and a line around them."""
    left, top, width, height = cv2.boundingRect(mask)
    x0, y0 = round(left * scale), round(top * scale)
    x1, y1 = (
        min(round((start + side) * scale), most)
        for start, side, most in ((left, width, picture.shape[1]), (top, height, picture.shape[0]))
    )
    if x1 <= x0 or y1 <= y0:
        return
    part = 255 * mask[top : top + height, left : left + width]
    inside = cv2.resize(part, (x1 - x0, y1 - y0), interpolation=_filter(scale)) > 127
    crop = picture[y0:y1, x0:x1]
    filled = cv2.addWeighted(crop, 1 - FILLING, np.full_like(crop, colour), FILLING, 0)
    np.copyto(crop, filled, where=inside[..., None])
    contours, _ = cv2.findContours(
        inside.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=(x0, y0)
    )
    cv2.drawContours(picture, contours, -1, colour, thickness, cv2.LINE_AA)


def _frame(item: PaintedObject, mask: np.ndarray | None, scale: float) -> Rectangle | None:
    """Return the box of an object, or else its mask's, in pixels of the picture."""
    if item.box is not None:
        left, top, right, bottom = item.box
    elif mask is not None and mask.any():
        left, top, width, height = cv2.boundingRect(mask)
        right, bottom = left + width, top + height
    else:
        return None
    x0, y0, x1, y1 = (round(float(value) * scale) for value in (left, top, right, bottom))
    return x0, y0, x1, y1


def _paint_labels(
    picture: np.ndarray, objects: Sequence[PaintedObject], frames: Sequence[Rectangle | None]
) -> np.ndarray:
    """Write the labels, each at the first place at its box where it covers no other."""
    height, width = picture.shape[:2]
    font = _font(max(9, round(max(height, width) / SIDE_BY_FONT)))
    canvas = Image.fromarray(picture)
    draw = ImageDraw.Draw(canvas)
    taken = np.empty((0, 4))
    for item, frame in zip(objects, frames, strict=True):
        if not item.label or frame is None:
            continue
        left, top, right, bottom = font.getbbox(item.label)
        size = (round(right - left) + 2 * PADDING, round(bottom - top) + 2 * PADDING)
        places = np.array(_places(frame, size, (width, height)), dtype=float)
        place = places[np.argmin(_overlaps(places, taken))]  # the first of equals
        taken = np.concatenate([taken, place[None]])
        x, y = place[:2].tolist()
        draw.rectangle((x, y, x + size[0] - 1, y + size[1] - 1), fill=item.colour)
        ink = "black" if np.dot(item.colour, (0.299, 0.587, 0.114)) > 140 else "white"
        draw.text((x + PADDING - left, y + PADDING - top), item.label, fill=ink, font=font)
    return np.asarray(canvas)


def _places(frame: Rectangle, size: tuple[int, int], limits: tuple[int, int]) -> list[Rectangle]:
    """List where a label may stand, the best place first: above its box, in it, below it, ..."""
    (left, top, right, bottom), (width, height) = frame, size
    left, top = max(left, 0), max(top, 0)
    corners = [
        (left, top - height),
        (left, top),
        (left, bottom),
        (right - width, top - height),
        (right - width, bottom),
        (left, bottom - height),
        (right, top),
        (left - width, top),
        *((left, top + row * height) for row in range(1, 9)),
    ]
    places = []
    for x, y in corners:
        x, y = (
            min(max(value, 0), max(limit - side, 0))
            for value, limit, side in zip((x, y), limits, size, strict=True)
        )
        places.append((x, y, x + width, y + height))
    return places


def _overlaps(places: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """Return how many pixels of each place are taken."""
    low = np.maximum(places[:, None, :2], taken[None, :, :2])
    high = np.minimum(places[:, None, 2:], taken[None, :, 2:])
    return np.clip(high - low, 0, None).prod(axis=2).sum(axis=1)


@functools.cache
def _font(height: int) -> ImageFont.FreeTypeFont:
    """Return matplotlib's own font, which is there wherever matplotlib is."""
    import matplotlib  # here, so that a run without pictures starts the sooner

    path = os.path.join(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    return ImageFont.truetype(path, height)
