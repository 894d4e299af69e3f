#!/usr/bin/env python
"""Draw the annotations of a COCO json, a config's training samples, or predictions."""

import argparse
import os
import random
import sys
from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
from detectron2.config import instantiate
from detectron2.data import DatasetCatalog, Metadata, MetadataCatalog
from PIL import Image

from imted.coco_check.check import check_dataset
from imted.coco_check.dataset import fit_to_dataset, summarize
from imted.data.coco_json import register_coco_json
from imted.engine.config import load_config
from imted.errors import UserError, exit_status
from imted.visualization.drawing import (
    draw_annotations,
    draw_predictions,
    draw_training_sample,
    load_predictions,
)

EPILOG = """\
examples
  python tools/visualize_data.py annotations --json train.json --images images --output pictures
  python tools/visualize_data.py samples --config-file configs/quickstart.py --output pictures
  python tools/visualize_data.py predictions --json val.json --images images --output pictures \\
      --predictions output/x/inference/coco_instances_results.json --score 0.5

The json is checked first, as before training, and the report is printed; what can be repaired is
drawn as repaired, from a copy in OUTPUT/datasets.
"""

Picture = tuple[str, np.ndarray]  # its file name and its RGB pixels
DATASET_NAME = "visualized"


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--output", required=True, help="folder for the pictures")
    common.add_argument("--num", type=int, default=20, help="pictures to draw (%(default)s)")
    truth = argparse.ArgumentParser(add_help=False)
    truth.add_argument("--json", required=True, help="annotations in COCO format")
    truth.add_argument("--images", required=True, help="folder of the images")
    truth.add_argument(
        "--seed", type=int, help="draw a random choice of images, not an even one by image id"
    )
    commands.add_parser("annotations", parents=[common, truth], help="draw a COCO json")
    predictions = commands.add_parser(
        "predictions", parents=[common, truth], help="draw the truth beside predictions"
    )
    predictions.add_argument("--predictions", required=True, help="coco_instances_results.json")
    predictions.add_argument(
        "--score", type=float, default=0.5, help="draw predictions from this score (%(default)s)"
    )
    samples = commands.add_parser(
        "samples", parents=[common], help="draw what a config's training loader yields"
    )
    samples.add_argument("--config-file", required=True, help="a LazyConfig")
    samples.add_argument("opts", nargs="*", metavar="key=value", help="overrides of the config")
    return parser.parse_args(argv)


def load_records(args: argparse.Namespace) -> tuple[list[dict], Metadata]:
    """Check and register the json; return the chosen images and the metadata."""
    report = check_dataset(args.json, args.images, split="annotations")
    print(report)
    if report.fatal:
        raise UserError(f"{args.json} has fatal mistakes; the report above names them.")
    split = summarize(report, args.output)["annotations"]
    register_coco_json(DATASET_NAME, split.json_file, split.image_root, split.classes)
    records = DatasetCatalog.get(DATASET_NAME)
    num = min(args.num, len(records))
    if args.seed is not None:
        records = random.Random(args.seed).sample(records, num)
    else:
        records = [records[i * len(records) // num] for i in range(num)]
    return records, MetadataCatalog.get(DATASET_NAME)


def draw_records(args: argparse.Namespace) -> Iterator[Picture]:
    """Draw annotations, beside predictions if these are given."""
    predictions = None
    if args.command == "predictions":
        predictions = load_predictions(args.predictions)
    records, metadata = load_records(args)
    for record in records:
        image_id = record["image_id"]
        stem = os.path.splitext(os.path.basename(record["file_name"]))[0]
        name = f"{image_id}_{stem}.png"  # files of several folders may have one name
        if predictions is None:
            yield name, draw_annotations(record, metadata)
        else:
            found = predictions.get(image_id, [])
            yield name, draw_predictions(record, found, metadata, args.score)


def draw_samples(args: argparse.Namespace) -> Iterator[Picture]:
    """Draw the first samples of a config's training loader, in the order of training."""
    cfg = load_config(args.config_file, args.opts)
    cfg.train.output_dir = args.output
    fit_to_dataset(cfg)
    loader = cfg.dataloader.train
    loader.total_batch_size, loader.num_workers = 1, 0
    names = loader.dataset.get("names")
    if names is None:
        raise UserError(f"{args.config_file} trains without annotations; there is nothing to draw.")
    metadata = MetadataCatalog.get(names if isinstance(names, str) else names[0])
    image_format = loader.mapper.image_format
    for i, (sample,) in enumerate(islice(instantiate(loader), args.num)):
        stem = os.path.splitext(os.path.basename(sample["file_name"]))[0]
        yield f"{i:04d}_{stem}.png", draw_training_sample(sample, image_format, metadata)


def save(pictures: Iterable[Picture], output: str) -> None:
    """Write the pictures and print their paths."""
    os.makedirs(output, exist_ok=True)
    for name, picture in pictures:
        path = os.path.join(output, name)
        Image.fromarray(picture).save(path)
        print(path)


@exit_status
def main(argv: list[str] | None = None) -> None:
    """Draw what the command line asks for."""
    args = parse_arguments(argv)
    if args.num < 1:
        raise UserError(f"--num is {args.num}; give at least 1.")
    save(draw_samples(args) if args.command == "samples" else draw_records(args), args.output)


if __name__ == "__main__":
    sys.exit(main())
