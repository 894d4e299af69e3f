#!/usr/bin/env python
"""Detect objects in images, videos or what a camera sees, with a trained detector."""

import argparse
import functools
import os
import sys

import torch

from imted import allowed
from imted.errors import UserError, exit_status
from imted.extras.demo.folder import RESULTS, predict_files, show_files
from imted.extras.demo.inputs import image_ids, list_inputs, picture_paths
from imted.extras.demo.video import predict_video, show_webcam
from imted.outputs import refuse_others
from imted.predict import Predictor
from imted.predict.detector import CONFIG, named_weights
from imted.training.distributed import start_processes

EPILOG = """\
examples
  python demo/demo.py --config-file output/quickstart/config.yaml \\
      --input datasets/shapes/val --output output/quickstart/predictions
  python demo/demo.py --config-file configs/coco/imted_mask_rcnn_vit_base_3x.py \\
      --input 'photos/**/*.jpg' --output found --opts train.init_checkpoint=model_final.pth
"""


def argument_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line: the flags of Detectron2's demo, and some more."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--config-file", required=True, metavar="FILE",
        help="a LazyConfig (.py), or the config.yaml of a training, which stands for its final "
        "weights")  # fmt: skip
    add("--input", nargs="+", metavar="PATH",
        help="images, folders of images, or globs in quotes")  # fmt: skip
    add("--video-input", metavar="FILE", help="a video")
    add("--webcam", action="store_true", help="a camera; needs windows, Escape ends it")
    add("--output", metavar="FOLDER",
        help="where pictures and predictions.json (COCO's results format) go; without it they are "
        "shown in windows")  # fmt: skip
    add("--confidence-threshold", type=float, default=0.5, metavar="SCORE",
        help="least score of a detection (default: 0.5)")  # fmt: skip
    add("--tile", type=int, default=0, metavar="PIXELS",
        help="cut larger images into tiles of this side; off by default")  # fmt: skip
    add("--overlap", type=int, default=128, metavar="PIXELS",
        help="what neighbours share, about an object's size (default: 128)")  # fmt: skip
    add("--image-ids", default="", metavar="JSON",
        help="COCO json that has the images' ids; without it they are 1, 2, ...")  # fmt: skip
    add("--num-gpus", type=int, default=1, metavar="N",
        help="GPUs that share the images (default: 1)")  # fmt: skip
    allowed.add_option(parser)
    add("--opts", nargs=argparse.REMAINDER, default=[], metavar="key=value",
        help="changes of the config, such as train.init_checkpoint=model_final.pth; last on the "
        "command line")  # fmt: skip
    return parser


def build_predictor(args: argparse.Namespace) -> Predictor:
    """Load the detector that the command line names, on this process's GPU."""
    config_file = args.config_file
    if os.path.isdir(config_file):
        config_file = os.path.join(config_file, CONFIG)
    return Predictor(
        named_weights(config_file, args.opts, args.allow),
        config_file=config_file,
        overrides=args.opts,
        threshold=args.confidence_threshold,
        tile=args.tile,
        overlap=args.overlap,
        allow=args.allow,
    )


def predict_inputs(args: argparse.Namespace) -> None:
    """Detect in the images of --input."""
    files = list_inputs(args.input, args.output)
    build = functools.partial(build_predictor, args)
    if not args.output:
        show_files(build(), files)
        return
    pictures, ids = picture_paths(files, args.output), image_ids(files, args.image_ids)
    written = [*map(str, pictures.values()), os.path.join(args.output, RESULTS)]
    read = [*map(str, files), args.image_ids, args.config_file]
    refuse_others(written, filter(None, read))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    start_processes(predict_files, (build, pictures, ids, args.output), args.num_gpus, device)


@exit_status
def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    args = argument_parser().parse_args(argv)
    sources = {
        "--input": bool(args.input),
        "--video-input": bool(args.video_input),
        "--webcam": args.webcam,
    }
    if sum(sources.values()) != 1:
        raise UserError(f"Give one of {', '.join(sources)}.")
    if args.input:
        predict_inputs(args)
    elif args.webcam:
        show_webcam(build_predictor(args))
    elif not args.output:
        raise UserError("--video-input needs --output: a folder, or a file that ends in .mp4.")
    else:
        print(predict_video(build_predictor(args), args.video_input, args.output))


if __name__ == "__main__":
    sys.exit(main())
