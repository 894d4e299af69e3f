#!/usr/bin/env python
"""Make low-shot data sets: 1, 2, 5 and 10 percent of the images of a COCO-format json, by seed."""

import argparse
import sys
from pathlib import Path
from typing import Any

from imted.data.dataset import datasets_root, read_coco
from imted.data.subsets import seeded_order, select
from imted.errors import UserError, exit_status
from imted.outputs import write_json

EPILOG = """\
what it writes
  OUTPUT/1percent_seed0.json ...   the images chosen, with all of their annotations

Evaluate on the whole validation json. The same command gives the same files; of one seed, the
images of a smaller percentage are among those of a larger one.

examples
  python datasets/prepare_low_shot.py --json datasets/coco/annotations/instances_train2017.json
  python datasets/prepare_low_shot.py --json datasets/shapes/train.json --percent 10 --seeds 0 \\
      --output datasets/shapes_low_shot
"""


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--json", required=True, help="training annotations in COCO's format")
    add("--percent", type=float, nargs="+", default=[1, 2, 5, 10], metavar="P",
        help="of the images (%(default)s)")  # fmt: skip
    add("--seeds", type=int, nargs="+", default=list(range(5)), metavar="SEED",
        help="a file each (%(default)s)")  # fmt: skip
    add("--output", type=Path, default=datasets_root() / "coco_low_shot",
        help="folder, in $DETECTRON2_DATASETS by default (%(default)s)")  # fmt: skip
    return parser.parse_args(argv)


def choose_images(
    content: dict[str, Any], percent: float, seed: int, source: str
) -> dict[str, Any]:
    """Choose a percentage of the images; those of one seed contain one another.

    Args:
        content: A COCO-format data set.
        percent: Part of the images, above 0 and up to 100; their number is rounded, and at least 1.
        seed: Seeds the choice.
        source: The file of `content`, for its name.

    Raises:
        UserError: The percentage is out of range, or there are no images.
    """
    if not 0 < percent <= 100:
        raise UserError(f"The percentage is {percent:g}; give more than 0 and at most 100.")
    if not content["images"]:
        raise UserError(f"{source} has no images to choose from.")
    ids = seeded_order((image["id"] for image in content["images"]), seed)
    chosen = set(ids[: max(1, round(len(ids) * percent / 100))])
    return select(
        content,
        chosen,
        [entry for entry in content["annotations"] if entry["image_id"] in chosen],
        description="a part of the images",
        source=Path(source).name,
        percent=percent,
        seed=seed,
    )


@exit_status
def main(argv: list[str] | None = None) -> None:
    """Write a json for each percentage and seed, and say how much is in it."""
    arguments = parse_arguments(argv)
    content = read_coco(arguments.json)
    for seed in arguments.seeds:
        for percent in arguments.percent:
            chosen = choose_images(content, percent, seed, arguments.json)
            path = arguments.output / f"{percent:g}percent_seed{seed}.json"
            write_json(chosen, path, inputs=[arguments.json])
            counts = f"{len(chosen['images'])} images, {len(chosen['annotations'])} annotations"
            print(f"{path}: {counts}")


if __name__ == "__main__":
    sys.exit(main())
