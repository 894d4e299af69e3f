#!/usr/bin/env python
"""Generate the synthetic shapes data set: COCO json and images with exact truth, by seed."""

import argparse
import os
import sys
import time
from pathlib import Path

from imted.data.dataset import datasets_root
from imted.errors import UserError, exit_status
from synthetic.dataset import check_split, write_split
from synthetic.shapes import CLASS_NAMES, ShapesOptions

EPILOG = f"""\
what it writes
  OUTPUT/train.json  OUTPUT/train/000001.jpg ...   images to train on
  OUTPUT/val.json    OUTPUT/val/000001.jpg ...     held-out images
  OUTPUT/pretrain.json  OUTPUT/pretrain/...        with --pretrain-images only

classes
  {", ".join(CLASS_NAMES)}

Masks are the visible pixels (RLE). Each annotation also has occlusion_ratio (hidden fraction),
visible_parts (pieces that the occluders leave) and full_bbox. Some images are empty; some have a
crowd (iscrowd 1). Image k of a split depends on the seed, the split, k and the options of size,
objects and colours only, never on how many images are written. The same command gives the same
files again, and refuses to write over the files of another one.

examples
  python datasets/prepare_shapes.py --output datasets/shapes_hard
  python datasets/prepare_shapes.py --output datasets/shapes \\
      --max-objects 4 --min-object 0.25 --class-colours             # what `make demo` trains on
"""


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--output", type=Path, default=datasets_root() / "shapes",
        help="folder, in $DETECTRON2_DATASETS by default (%(default)s)")  # fmt: skip
    add("--train-images", type=int, default=2000, metavar="N", help="0 for none (%(default)s)")
    add("--val-images", type=int, default=200, metavar="N", help="0 for none (%(default)s)")
    add("--pretrain-images", type=int, default=0, metavar="N", help="0 for none (%(default)s)")
    add("--image-size", type=int, default=192, metavar="PIXELS",
        help="side of the square images, a multiple of 16 (%(default)s)")  # fmt: skip
    add("--max-objects", type=int, default=8, metavar="N",
        help="most separate objects in an image (%(default)s)")  # fmt: skip
    add("--min-object", type=float, default=1 / 16, metavar="FRACTION",
        help="size of the smallest object, of the image's side (%(default)s)")  # fmt: skip
    add("--class-colours", action="store_true",
        help="a hue of its own for each class; otherwise shape alone tells them apart")  # fmt: skip
    add("--seed", type=int, default=0, help="not negative (%(default)s)")
    add("--workers", type=int, default=os.cpu_count(), metavar="N",
        help="processes; the files don't depend on it (one a core: %(default)s)")  # fmt: skip
    return parser.parse_args(argv)


@exit_status
def main(argv: list[str] | None = None) -> None:
    """Write the splits that were asked for, after checking all of them."""
    arguments = parse_arguments(argv)
    counts = {
        "train": arguments.train_images,
        "val": arguments.val_images,
        "pretrain": arguments.pretrain_images,
    }
    counts = {split: count for split, count in counts.items() if count != 0}
    if not counts:
        raise UserError("every number of images is 0; give at least one that is not.")
    options = ShapesOptions(
        image_size=arguments.image_size,
        max_objects=arguments.max_objects,
        min_object=arguments.min_object,
        class_colours=arguments.class_colours,
    )
    for split, count in counts.items():
        check_split(arguments.output, split, count, arguments.seed, options)
    for split, count in counts.items():
        start = time.perf_counter()
        path = write_split(
            arguments.output, split, count, arguments.seed, options, arguments.workers
        )
        seconds = time.perf_counter() - start
        print(f"{path}: {count} images in {seconds:.1f} s ({count / seconds:.0f} images/s)")


if __name__ == "__main__":
    sys.exit(main())
