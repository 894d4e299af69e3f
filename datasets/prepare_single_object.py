#!/usr/bin/env python
"""Generate synthetic images of one shape each, in the folders of ImageNet's localisation task."""

import argparse
import sys
from pathlib import Path

from imted.data.dataset import datasets_root
from imted.errors import exit_status
from imted.experiments.single_object.synthetic import write_single_object
from imted.extras.synthetic.shapes import CLASS_NAMES, ShapesOptions

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
