"""Write synthetic scenes of one shape each in the folders that `data` reads."""

from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np

from imted.errors import UserError
from imted.experiments.single_object.data import ANNOTATIONS, IMAGES, SPLITS
from imted.extras.synthetic.dataset import encode_jpeg
from imted.extras.synthetic.shapes import CLASS_NAMES, Scene, ShapesOptions, render_scene


def single_object_scene(seed: int, split: str, index: int, options: ShapesOptions) -> Scene:
    """Render image `index` (from 1) of a split; a scene that finds no room is drawn anew."""
    rng = np.random.default_rng([seed, SPLITS.index(split), index])
    while True:
        scene = render_scene(rng, options)
        if scene.instances:
            return scene


def write_single_object(
    root: Path, counts: dict[str, int], seed: int, options: ShapesOptions
) -> None:
    """Write the images and XML files of the splits; every class gets a folder in train.

    Args:
        root: A folder that does not exist, or is empty.
        counts: Number of images by split.
        seed: Seeds everything.
        options: With at most one object, and without crowds, cuts and empty images.

    Raises:
        UserError: A number is out of range, or the folder holds something.
    """
    for split, count in counts.items():
        if count < 1:
            raise UserError(f"the number of {split} images is {count}; give a positive number.")
    if seed < 0:
        raise UserError(f"seed is {seed}; give a number that is not negative.")
    if root.exists() and any(root.iterdir()):
        raise UserError(f"{root} is not empty; give another --output or remove that one.")
    for part in (IMAGES, ANNOTATIONS):
        for name in CLASS_NAMES:
            (root / part / "train" / name).mkdir(parents=True)
        (root / part / "val").mkdir()
    for split, count in counts.items():
        for index in range(1, count + 1):
            scene = single_object_scene(seed, split, index, options)
            (instance,) = scene.instances
            name = CLASS_NAMES[instance.category]
            stem = f"train/{name}/{name}_{index}" if split == "train" else f"val/val_{index:08d}"
            (root / IMAGES / f"{stem}.JPEG").write_bytes(encode_jpeg(scene.image))
            box = cv2.boundingRect(instance.visible.view(np.uint8))
            _xml(name, box, options.image_size).write(root / ANNOTATIONS / f"{stem}.xml")


def _xml(name: str, box: tuple[int, int, int, int], side: int) -> ElementTree.ElementTree:
    """Describe one object, its box given as x, y, width and height."""
    x, y, width, height = box
    root = ElementTree.Element("annotation")
    size = ElementTree.SubElement(root, "size")
    item = ElementTree.SubElement(root, "object")
    ElementTree.SubElement(item, "name").text = name
    corners = ElementTree.SubElement(item, "bndbox")
    values = {"xmin": x, "ymin": y, "xmax": x + width, "ymax": y + height}
    for parent, fields in ((size, {"width": side, "height": side, "depth": 3}), (corners, values)):
        for key, value in fields.items():
            ElementTree.SubElement(parent, key).text = str(value)
    return ElementTree.ElementTree(root)
