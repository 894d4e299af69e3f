#!/usr/bin/env python
"""Generate synthetic images of one shape each, in the folders of ImageNet's localisation task."""

import argparse
import sys
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np

from imted.data.dataset import datasets_root
from imted.errors import UserError, exit_status
from imted.experiments.single_object.data import ANNOTATIONS, IMAGES, SPLITS
from synthetic.dataset import encode_jpeg
from synthetic.shapes import CLASS_NAMES, Scene, ShapesOptions, render_scene

EPILOG = f"""\
what it writes
  OUTPUT/Data/CLS-LOC/train/disc/disc_1.JPEG   OUTPUT/Annotations/CLS-LOC/train/disc/disc_1.xml
  OUTPUT/Data/CLS-LOC/val/val_00000001.JPEG    OUTPUT/Annotations/CLS-LOC/val/val_00000001.xml

classes
  {", ".join(CLASS_NAMES)}

The same command gives the same files, in a folder that must be empty.

example
  python datasets/prepare_single_object.py --class-colours  # for configs/single_object/shapes.py
"""


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--output", type=Path, default=datasets_root() / "shapes_single_object",
        help="folder, in $DETECTRON2_DATASETS by default (%(default)s)")  # fmt: skip
    add("--train-images", type=int, default=2000, metavar="N", help="(%(default)s)")
    add("--val-images", type=int, default=500, metavar="N", help="(%(default)s)")
    add("--image-size", type=int, default=192, metavar="PIXELS",
        help="side of the square images, a multiple of 16 (%(default)s)")  # fmt: skip
    add("--min-object", type=float, default=0.2, metavar="FRACTION",
        help="size of the smallest object, of the image's side (%(default)s)")  # fmt: skip
    add("--class-colours", action="store_true",
        help="a hue of its own for each class; otherwise shape alone tells them apart")  # fmt: skip
    add("--seed", type=int, default=0, help="not negative (%(default)s)")
    return parser.parse_args(argv)


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


@exit_status
def main(argv: list[str] | None = None) -> None:
    """Write images and annotations, and say how many."""
    arguments = parse_arguments(argv)
    options = ShapesOptions(
        image_size=arguments.image_size,
        max_objects=1,
        empty_fraction=0.0,
        crowd_fraction=0.0,
        cut_fraction=0.0,
        min_object=arguments.min_object,
        class_colours=arguments.class_colours,
    )
    counts = {"train": arguments.train_images, "val": arguments.val_images}
    write_single_object(arguments.output, counts, arguments.seed, options)
    print(f"{arguments.output}: {counts['train']} + {counts['val']} images")


if __name__ == "__main__":
    sys.exit(main())
