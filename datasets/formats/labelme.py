"""LabelMe's json: one beside each image, with polygons, rectangles, circles and masks."""

import base64
import binascii
import io
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from imted.atomic import read_json
from imted.data.coco_check.geometry import is_near
from imted.errors import UserError
from imted.outputs import is_written

from .coco import CocoBuilder, Point, common_folder

CIRCLE_POINTS = 36


def read_labelme(folder: str) -> CocoBuilder:
    """Read every json of a folder.

    Polygons and circles of one label and one `group_id` are one object. Rectangles have no mask.
    Points and lines have no place in COCO's format, and are counted in `left_out`.

    Args:
        folder: Its path; sub-folders are read, too.

    Raises:
        UserError: There is none, or one isn't LabelMe's.
    """
    # What is ours among them was converted before, into a folder below.
    paths = [path for path in sorted(Path(folder).rglob("*.json")) if not is_written(path)]
    files = {path: _read(path) for path in paths}
    if not files:
        raise UserError(f"{folder} holds no .json of LabelMe's; name the folder that does.")
    classes = sorted({shape["label"] for content in files.values() for shape in content["shapes"]})
    if not classes:
        raise UserError(f"No json in {folder} has a shape; label something first.")
    images = {
        path: Path(os.path.abspath(path.parent / content["imagePath"].replace("\\", "/")))
        for path, content in files.items()
    }
    builder = CocoBuilder(common_folder(list(images.values())), classes)
    for path, content in files.items():
        size = builder.add_image(images[path])
        builder.require_size((content.get("imageWidth"), content.get("imageHeight")), path)
        _add_shapes(builder, content["shapes"], size, path)
    return builder


def _read(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path)
        for shape in content["shapes"]:
            shape["label"] = str(shape["label"])
            shape["points"] = [(float(x), float(y)) for x, y in shape["points"]]
            shape["shape_type"] = shape.get("shape_type") or "polygon"
            if not all(math.isfinite(value) for point in shape["points"] for value in point):
                raise ValueError("a point is not finite")
        content["imagePath"] = str(content["imagePath"])
    except (UserError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} is no json of LabelMe's, with 'imagePath' and 'shapes' of 'label' and "
            f"'points' ({error}); correct or remove it."
        ) from None
    return content


def _add_shapes(
    builder: CocoBuilder, shapes: list[dict[str, Any]], size: tuple[int, int], path: Path
) -> None:
    objects: dict[Any, tuple[str, list[list[Point]]]] = {}
    for number, shape in enumerate(shapes):
        kind, points, label = shape["shape_type"], shape["points"], shape["label"]
        # X-AnyLabeling's rectangles have all four corners.
        if (kind, len(points)) in (("rectangle", 2), ("rectangle", 4), ("mask", 2)):
            xs, ys = zip(*points, strict=True)
            x, y = min(xs), min(ys)
            if kind == "rectangle":
                builder.add_object(label, (x, y, max(xs) - x, max(ys) - y))
            else:
                builder.add_object(label, mask=_decode(shape, (x, y), size, path))
            continue
        polygon = _circle(points) if kind == "circle" and len(points) == 2 else points
        # A "rotation" is X-AnyLabeling's rectangle that stands askew.
        if kind not in ("polygon", "circle", "rotation") or len(polygon) < 3:
            builder.leave_out(f"{kind} of {len(points)} point{'s'[: len(points) != 1]}")
            continue
        group = shape.get("group_id")
        key = (label, "group", group) if group is not None else (label, "alone", number)
        objects.setdefault(key, (label, []))[1].append(polygon)
    for label, polygons in objects.values():
        if not is_near((value for polygon in polygons for p in polygon for value in p), size):
            raise UserError(f"{path}: a point of a {label!r} is far from the image; correct it.")
        builder.add_object(label, polygons=polygons)


def _circle(points: list[Point]) -> list[Point]:
    (x, y), edge = points
    radius = math.dist((x, y), edge)
    angles = [2 * math.pi * k / CIRCLE_POINTS for k in range(CIRCLE_POINTS)]
    return [(x + radius * math.cos(angle), y + radius * math.sin(angle)) for angle in angles]


def _open_png(text: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(text)), formats=("PNG",))


def _decode(
    shape: dict[str, Any], corner: Point, size: tuple[int, int], path: Path
) -> dict[str, Any]:
    """Put a mask, a PNG as large as its box, in its place."""
    width, height = size
    try:
        small = np.array(_open_png(shape["mask"])) > 0
        x, y = (round(value) for value in corner)
        mask = np.zeros((height, width), np.uint8, order="F")
        mask[y : y + small.shape[0], x : x + small.shape[1]] = small
    except (KeyError, TypeError, ValueError, OSError, binascii.Error) as error:
        raise UserError(
            f"{path}: the mask of a {shape['label']!r} can't be read ({error}); draw it again."
        ) from None
    rle = coco_mask.encode(mask)
    return {"size": [height, width], "counts": rle["counts"].decode("ascii")}
