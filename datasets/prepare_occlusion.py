#!/usr/bin/env python
"""Make the lists of occluded and of separated objects whose recall configs/occlusion reports."""

import argparse
import sys
from pathlib import Path

from imted.atomic import write_json
from imted.data.dataset import datasets_root, read_coco
from imted.errors import exit_status
from imted.experiments.occlusion.data import LISTS, add_ratios, derive_lists, write_list
from imted.experiments.occlusion.occluded_coco import read_published_list

EPILOG = """\
what it writes
  OUTPUT/occluded.json      objects with a hidden part whose visible mask is connected
  OUTPUT/separated.json     objects with a hidden part whose visible mask is in several pieces
  OUTPUT/annotations.json   derive, if the json has objects without an occlusion_ratio: a copy in
                            which each has one; the missing ones are estimates

published: the lists of Zhan et al. (BMVC 2022) on COCO val2017, occluded_coco.pkl and
separated_coco.pkl from https://www.robots.ox.ac.uk/~vgg/research/tpod/datasets. They are read as
data: nothing in them is executed.

derive: lists from the masks of any COCO json. Objects whose occlusion_ratio (the synthetic shapes
have it) is above 0 are hidden. For others it is estimated: the part of the convex hull of the
visible mask that is covered by other objects' masks. That is an approximation, and not the
published algorithm, which completes hidden shapes by a network. A mask is in several pieces if two
of them have 5 % of its pixels or more.

examples
  python datasets/prepare_occlusion.py published \\
      --occluded occluded_coco.pkl --separated separated_coco.pkl
  python datasets/prepare_occlusion.py derive --json datasets/shapes/val.json
"""


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    published = commands.add_parser("published", help="convert the published lists")
    for name in LISTS:
        published.add_argument(f"--{name}", required=True, metavar="PKL", help=f"{name}_coco.pkl")
    derive = commands.add_parser("derive", help="derive lists from the masks of a COCO json")
    derive.add_argument("--json", required=True, help="annotations in COCO format, with masks")
    for command, folder in ((published, "occluded_coco"), (derive, "occlusion")):
        command.add_argument("--output", type=Path, default=datasets_root() / folder,
            help="folder, in $DETECTRON2_DATASETS by default (%(default)s)")  # fmt: skip
    return parser.parse_args(argv)


@exit_status
def main(argv: list[str] | None = None) -> None:
    """Make the lists and say how long they are."""
    arguments = parse_arguments(argv)
    if arguments.command == "published":
        sources = {name: getattr(arguments, name) for name in LISTS}
        lists = {name: read_published_list(path) for name, path in sources.items()}
    else:
        sources = dict.fromkeys(LISTS, arguments.json)
        content, estimates = add_ratios(read_coco(arguments.json), arguments.json)
        lists = derive_lists(content, arguments.json)
        if estimates:
            path = arguments.output / "annotations.json"
            write_json(content, path)
            print(f"{path}: {estimates} occlusion ratios are estimates")
    for name, objects in lists.items():
        path = arguments.output / f"{name}.json"
        write_list(path, objects, sources[name])
        unknown = sum(item.occlusion_ratio is None for item in objects)
        print(f"{path}: {len(objects)} objects" + f", {unknown} of unknown ratio" * bool(unknown))


if __name__ == "__main__":
    sys.exit(main())
