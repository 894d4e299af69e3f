"""A COCO data set that is put together image by image."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import UnidentifiedImageError
from pycocotools import mask as coco_mask

from imted.data.coco_check.check import is_scaled
from imted.data.pixels import BYTE_MODES, DEEP, inspect_image
from imted.errors import UserError

Point = tuple[float, float]


class CocoBuilder:
    """Collects images and annotations.

    Attributes:
        root: Folder that the file names start from.
        left_out: What has no place in COCO's format, and how often it came.
    """

    def __init__(self, root: Path, classes: Sequence[str]) -> None:
        """Start with no image; the first class gets category id 1."""
        self.root = root
        self.left_out: dict[str, int] = {}
        self._categories = {name: number for number, name in enumerate(classes, start=1)}
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []

    def add_image(self, path: Path) -> tuple[int, int]:
        """Add an image without annotations.

        Returns:
            Width and height in pixels, turned as its EXIF tag says: so Detectron2 reads it, and so
            annotation tools show it.

        Raises:
            UserError: It isn't there, or is no image.
        """
        try:
            width, height, _, mode = inspect_image(str(path))
        except (OSError, UnidentifiedImageError, SyntaxError) as error:
            raise UserError(f"{path} can't be read as an image ({error}); put it there.") from None
        if mode not in BYTE_MODES:
            raise UserError(f"{path} has {DEEP.format(mode=mode)}; convert it to 8 bits.")
        name = path.relative_to(self.root).as_posix()
        entry = {"id": len(self._images) + 1, "file_name": name, "width": width, "height": height}
        self._images.append(entry)
        return width, height

    def require_size(self, stated: tuple[Any, Any], source: Path) -> None:
        """See that the annotations of the last image are of its file.

        Args:
            stated: Width and height that they were drawn at; what is no number is passed over.
            source: Who states it.

        Raises:
            UserError: The file was resized or turned since.
        """
        image = self._images[-1]
        size = (image["width"], image["height"])
        if stated != size and (is_scaled(stated, size) or stated == size[::-1]):
            raise UserError(
                f"{source} was made for {stated[0]}x{stated[1]} pixels, and {image['file_name']} "
                f"has {size[0]}x{size[1]}: it was resized or turned since; give the image of that "
                "size, or correct size and annotations."
            )

    def add_object(
        self,
        name: str,
        box: Sequence[float] | None = None,
        polygons: Sequence[Sequence[Point]] = (),
        mask: dict[str, Any] | None = None,
        **more: Any,
    ) -> None:
        """Add an object of the last image.

        Args:
            name: Its class.
            box: (x, y, width, height) in pixels; not needed with a mask.
            polygons: Its mask, as lists of (x, y) in pixels.
            mask: Its mask, as an RLE of COCO's with text counts.
            **more: Further fields.
        """
        image = self._images[-1]
        entry: dict[str, Any] = {"id": len(self._annotations) + 1, "image_id": image["id"]}
        entry |= {"category_id": self._categories[name], "iscrowd": 0, **more}
        if polygons:
            entry["segmentation"] = [[value for point in p for value in point] for p in polygons]
            rles = coco_mask.frPyObjects(entry["segmentation"], image["height"], image["width"])
            entry["area"] = float(coco_mask.area(coco_mask.merge(rles)))
            xs, ys = zip(*(point for polygon in polygons for point in polygon), strict=True)
            box = (min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys))
        elif mask is not None:
            entry["segmentation"] = mask
            entry["area"] = float(coco_mask.area(mask))
            box = coco_mask.toBbox(mask).tolist()
        assert box is not None
        entry["bbox"] = [float(value) for value in box]
        entry.setdefault("area", entry["bbox"][2] * entry["bbox"][3])
        self._annotations.append(entry)

    def leave_out(self, what: str) -> None:
        """Count something that has no place in COCO's format."""
        self.left_out[what] = self.left_out.get(what, 0) + 1

    def content(self, source: str) -> dict[str, Any]:
        """Return the data set; `source` is what its "info" says of where it comes from."""
        return {
            "info": {"description": f"converted from {source}"},
            "licenses": [],
            "images": self._images,
            "annotations": self._annotations,
            "categories": [{"id": i, "name": name} for name, i in self._categories.items()],
        }


def common_folder(paths: Sequence[Path]) -> Path:
    """Return the deepest folder that has all of some files."""
    return Path(os.path.commonpath([path.parent for path in paths]))
