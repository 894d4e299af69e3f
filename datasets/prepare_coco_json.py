#!/usr/bin/env python
"""Turn YOLO, PASCAL VOC or LabelMe annotations into COCO json, or split a COCO json in two.

Images stay where they are; nothing is written but json.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from formats import read_labelme, read_voc, read_yolo, split_dataset
from formats.coco import CocoBuilder
from imted.data import read_coco
from imted.data.coco_json import categories_of
from imted.errors import exit_status
from imted.outputs import write_json

EPILOG = """\
examples
  python datasets/prepare_coco_json.py yolo my_data/data.yaml --output my_data/coco
  python datasets/prepare_coco_json.py voc my_data --output my_data/coco
  python datasets/prepare_coco_json.py labelme my_data --output my_data/coco
  python datasets/prepare_coco_json.py coco_split my_data/all.json --output my_data/coco
"""


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    formats = parser.add_subparsers(dest="format", required=True)
    for name, source, text in (
        ("yolo", "data.yaml", "boxes and polygons; writes a json for each of its splits"),
        ("voc", "folder", "XML and images; a json for each list in ImageSets/Main"),
        ("labelme", "folder", "a json for each image; writes all.json"),
        ("coco_split", "json", "writes train.json and val.json, stratified by class"),
    ):
        add = formats.add_parser(name, help=text, description=text).add_argument
        add("source", help=source)
        add("--output", type=Path, required=True, help="folder of the json files")
        if name == "voc":
            add("--first-pixel", type=int, choices=(0, 1), default=1,
                help="what the corner of the first pixel is called; 1 is VOC's")  # fmt: skip
        if name == "coco_split":
            add("--val-fraction", type=float, default=0.2, metavar="F", help="(%(default)s)")
            add("--seed", type=int, default=0, help="(%(default)s)")
    return parser.parse_args(argv)


@exit_status
def main(argv: list[str] | None = None) -> None:
    """Convert, write, and say how much is in each file."""
    args = parse_arguments(argv)
    if args.format == "coco_split":
        content = read_coco(args.source)
        parts = split_dataset(content, args.val_fraction, args.seed, args.source)
        for name, part in zip(("train", "val"), parts, strict=True):
            _write(part, args.output / f"{name}.json", args.source)
        return
    found: dict[str, CocoBuilder]
    if args.format == "yolo":
        found = read_yolo(args.source)
    elif args.format == "voc":
        found = read_voc(args.source, args.first_pixel)
    else:
        found = {"all": read_labelme(args.source)}
    for name, builder in found.items():
        _write(builder.content(args.source), args.output / f"{name}.json", args.source)
        print(f"  images in {builder.root}")
        for what, count in builder.left_out.items():
            print(f"  left out: {count} times a {what}")


def _write(content: dict[str, Any], path: Path, source: str) -> None:
    write_json(content, path, inputs=[source])
    names = categories_of(content)
    counts = Counter(names[entry["category_id"]] for entry in content["annotations"])
    said = ", ".join(f"{count} {name}" for name, count in counts.most_common())
    print(f"{path}: {len(content['images'])} images, {said or 'no objects'}")


if __name__ == "__main__":
    sys.exit(main())
