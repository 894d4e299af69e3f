"""A tiny COCO data set on disk, correct until a test spoils it."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

WIDTH, HEIGHT = 40, 30


def square(x: float, y: float, side: float) -> list[list[float]]:
    """The polygon of a square."""
    return [[x, y, x + side, y, x + side, y + side, x, y + side]]


def make_content() -> dict:
    """Two images with two annotations each, three categories, masks as polygons."""
    boxes = [(11, 1, 5, 5, 10), (12, 1, 20, 10, 12), (13, 2, 0, 0, 8), (14, 2, 25, 15, 15)]
    return {
        "images": [
            {"id": i, "file_name": f"{i}.png", "width": WIDTH, "height": HEIGHT} for i in (1, 2)
        ],
        "annotations": [
            {
                "id": key,
                "image_id": image_id,
                "category_id": 1 + key % 3,
                "bbox": [x, y, side, side],
                "area": side * side,
                "iscrowd": 0,
                "segmentation": square(x, y, side),
            }
            for key, image_id, x, y, side in boxes
        ],
        "categories": [{"id": i, "name": name} for i, name in enumerate(("ant", "bee", "cat"), 1)],
    }


class CocoFolder:
    """A folder with images and json files.

    Attributes:
        content: what `write` writes; tests change it.
        images: the folder of the images.
    """

    def __init__(self, root: Path):
        self.root = root
        self.images = root / "images"
        self.images.mkdir()
        self.content = make_content()
        rng = np.random.default_rng(0)
        for image in self.content["images"]:
            pixels = rng.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(self.images / image["file_name"])

    def write(self, name: str = "train") -> str:
        """Write the content to `<name>.json` and return the path."""
        path = self.root / f"{name}.json"
        path.write_text(json.dumps(self.content))
        return str(path)


@pytest.fixture
def folder(tmp_path) -> CocoFolder:
    return CocoFolder(tmp_path)
