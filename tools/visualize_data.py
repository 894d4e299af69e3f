#!/usr/bin/env python
"""Draw annotations, a config's training samples, or predictions; the flags are Detectron2's."""

import argparse
import os
import random
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from imted import allowed
from imted.config.dataset import complete_from_dataset
from imted.config.load import load_config
from imted.data.coco_check.check import check_dataset
from imted.data.coco_json import register_coco_json
from imted.data.dataset import write_repaired
from imted.errors import UserError, exit_status
from imted.outputs import write_picture
from imted.training.train import build_loader
from imted.visualization.drawing import (
    draw_annotations,
    draw_predictions,
    draw_training_sample,
    load_predictions,
)

import numpy as np
from detectron2.config import instantiate
from detectron2.data import DatasetCatalog, Metadata, MetadataCatalog
from omegaconf import DictConfig
from PIL import Image

EPILOG = """\
sources
  annotation   a COCO json (--json, --images), or the training set of --config-file
  dataloader   what the training loader of --config-file yields, augmentation included
  prediction   truth beside predictions: of --json and --images, or the test set of --config-file

examples
  python tools/visualize_data.py --source annotation --json my_data/val.json \\
      --images my_data/val --output-dir pictures
  python tools/visualize_data.py --source dataloader --config-file configs/quickstart.py \\
      --output-dir pictures
  python tools/visualize_data.py --source prediction \\
      --config-file output/quickstart/config.yaml --output-dir pictures \\
      --predictions output/quickstart/inference/coco_instances_results.json

A json is checked first, as before training, and the report is printed; what can be repaired is
drawn as repaired, from a copy in OUTPUT-DIR/datasets.
"""

Picture = tuple[str, np.ndarray]  # its file name and its RGB pixels
Records = list[dict[str, Any]]  # images in Detectron2's dataset format
DATASET_NAME = "visualized"


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--source", required=True, choices=("annotation", "dataloader", "prediction"),
        help="what to draw, see below")  # fmt: skip
    add("--config-file", default="", metavar="FILE", help="a LazyConfig")
    add("--json", help="annotations in COCO format, in place of a config")
    add("--images", help="folder of the images of --json")
    add("--output-dir", default="./", metavar="DIR", help="folder for the pictures (%(default)s)")
    add("--show", action="store_true", help="show the pictures in windows; write none")
    add("--predictions", metavar="FILE", help="coco_instances_results.json, for prediction")
    add("--conf-threshold", type=float, default=0.5, metavar="SCORE",
        help="draw predictions from this score (%(default)s)")  # fmt: skip
    add("--num", type=int, default=20, metavar="N", help="pictures to draw (%(default)s)")
    add("--seed", type=int, help="draw a random choice of images, not an even one by image id")
    allowed.add_option(parser)
    add("opts", nargs="*", metavar="key=value", help="overrides of the config")
    args = parser.parse_intermixed_args(argv)
    if args.num < 1:
        raise UserError(f"--num is {args.num}; give at least 1.")
    if args.source == "prediction" and not args.predictions:
        raise UserError("--source prediction needs --predictions FILE.")
    if bool(args.json) != bool(args.images):
        raise UserError("--json and --images belong together; give both.")
    if bool(args.json) == bool(args.config_file) or (args.source == "dataloader" and args.json):
        raise UserError(
            f"--source {args.source} needs --config-file"
            + ("." if args.source == "dataloader" else ", or --json with --images.")
        )
    return args


def load_records(args: argparse.Namespace) -> tuple[Records, Metadata]:
    """Load the images of the json or of the config, and the metadata of their data set."""
    if args.json:
        report = check_dataset(args.json, args.images, split="annotations")
        print(report)
        if report.fatal:
            raise UserError(f"{args.json} has fatal problems; the report above names them.")
        split = write_repaired(report, args.output_dir)
        register_coco_json(DATASET_NAME, split.json_file, split.image_root, split.classes)
        return DatasetCatalog.get(DATASET_NAME), MetadataCatalog.get(DATASET_NAME)
    training = args.source == "annotation"
    cfg = load_run_config(args, training)
    loader = cfg.dataloader.train if training else cfg.dataloader.test
    return instantiate(loader.dataset), metadata_of(loader, args.config_file)


def load_run_config(args: argparse.Namespace, training: bool = True) -> DictConfig:
    """Load the config; copies of repaired annotations go to the output folder."""
    cfg = load_config(args.config_file, args.opts, args.allow)
    cfg.train.output_dir = args.output_dir
    complete_from_dataset(cfg, training)
    return cfg


def metadata_of(loader: DictConfig, config_file: str) -> Metadata:
    """Return the metadata of a loader's data set."""
    names = loader.dataset.get("names")
    if names is None:
        raise UserError(f"{config_file} has no annotations by name; there is nothing to draw.")
    return MetadataCatalog.get(names if isinstance(names, str) else names[0])


def choose(records: Records, number: int, seed: int | None) -> Records:
    """Choose images at random with a seed, in even steps without."""
    number = min(number, len(records))
    if seed is not None:
        return random.Random(seed).sample(records, number)
    return [records[i * len(records) // number] for i in range(number)]


def draw_records(args: argparse.Namespace) -> Iterator[Picture]:
    """Draw annotations, beside predictions if these are wanted."""
    predictions = load_predictions(args.predictions) if args.source == "prediction" else None
    records, metadata = load_records(args)
    for record in choose(records, args.num, args.seed):
        image_id = record["image_id"]
        stem = os.path.splitext(os.path.basename(record["file_name"]))[0]
        name = f"{image_id}_{stem}.png"  # files of several folders may have one name
        if predictions is None:
            yield name, draw_annotations(record, metadata)
        else:
            found = predictions.get(image_id, [])
            yield name, draw_predictions(record, found, metadata, args.conf_threshold)


def draw_samples(args: argparse.Namespace) -> Iterator[Picture]:
    """Draw the first samples of a config's training loader, in the order of training."""
    cfg = load_run_config(args)
    loader = cfg.dataloader.train
    metadata = metadata_of(loader, args.config_file)
    loader.total_batch_size, loader.num_workers = 1, 0
    image_format = loader.mapper.image_format
    for i, (sample,) in enumerate(islice(build_loader(cfg), args.num)):
        stem = os.path.splitext(os.path.basename(sample["file_name"]))[0]
        yield f"{i:04d}_{stem}.png", draw_training_sample(sample, image_format, metadata)


def save(pictures: Iterable[Picture], output: str) -> None:
    """Write the pictures and print their paths."""
    for name, picture in pictures:
        path = os.path.join(output, name)
        write_picture(picture, path)
        print(path)


@exit_status
def main(argv: list[str] | None = None) -> None:
    """Draw what the command line asks for."""
    args = parse_arguments(argv)
    pictures = draw_samples(args) if args.source == "dataloader" else draw_records(args)
    if args.show:
        for name, picture in pictures:
            Image.fromarray(picture).show(title=name)
    else:
        save(pictures, args.output_dir)


if __name__ == "__main__":
    sys.exit(main())
