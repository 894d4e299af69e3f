#!/usr/bin/env python
"""Export a trained detector to TorchScript or ONNX, and evaluate the exported file."""

import argparse
import os
import statistics
import sys
from functools import partial

from benchmarking.clock import timed
from imted import allowed
from imted.errors import UserError, exit_status
from imted.extras.export.files import (
    ExportedDetector,
    open_onnx,
    open_torchscript,
    write_onnx,
    write_torchscript,
)
from imted.predict import LoadedDetector, Predictor
from imted.run_folder import RESULTS, read_results
from imted.training.evaluate import build_test

import torch
from detectron2.evaluation import inference_on_dataset
from omegaconf import OmegaConf

NUM_SAMPLES = 20
"""Test images that are searched for one with an object."""
SUFFIX = {"torchscript": "ts", "onnx": "onnx"}
EPILOG = """\
examples
  python tools/export_model.py output/quickstart --format torchscript --output exported
  python tools/export_model.py output/quickstart --format onnx --precision fp16 --run-eval \\
      --output exported
"""


def argument_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("source", help="the folder of a training, or a file of weights")
    add("--format", choices=SUFFIX, required=True, help="both take images of any size")
    add("--output", required=True, metavar="FOLDER", help="where model.ts or model.onnx goes")
    add("--precision", choices=("fp32", "fp16"), default="fp32",
        help="of an ONNX file's stored weights (default: fp32)")  # fmt: skip
    add("--sample-image", metavar="FILE",
        help="an image with an object; by default the first of the config's test images that has "
        "one")  # fmt: skip
    add("--run-eval", action="store_true",
        help="evaluate the file on the config's test set, and time it")  # fmt: skip
    add("--config-file", default="", metavar="FILE",
        help="the config; by default the config.yaml beside the weights")  # fmt: skip
    add("--device", help="cpu, cuda or one such as cuda:1; by default the GPU where there is one")
    allowed.add_option(parser)
    add("--opts", nargs=argparse.REMAINDER, default=[], metavar="key=value",
        help="changes of the config; last on the command line")  # fmt: skip
    return parser


def find_sample(predictor: Predictor, path: str | None) -> torch.Tensor:
    """Return an image in which the detector finds something, (3, H, W), float32."""
    if path:
        return predictor.preprocess(path)["image"].float()
    for candidate in predictor.examples(NUM_SAMPLES):
        if len(predictor(candidate)):
            return predictor.preprocess(candidate)["image"].float()
    folder = OmegaConf.select(predictor.cfg, "dataset.val_images") or ""
    raise UserError(
        f"There is no test image (dataset.val_images={folder!r}) in which the detector finds "
        "something; give one with --sample-image."
    )


def evaluate(loaded: LoadedDetector, exported: ExportedDetector) -> dict:
    """Evaluate an exported file on the config's test set."""
    loader, evaluator = build_test(loaded.run.with_test_set().cfg)
    return inference_on_dataset(exported, loader, evaluator)


def compare_speed(predictor: Predictor, exported: ExportedDetector, sample: torch.Tensor) -> str:
    """Time the file and the model it was made of, in turn; return a line of it."""
    paths = predictor.examples(NUM_SAMPLES)
    images = [predictor.preprocess(path)["image"].float() for path in paths] or [sample]
    seconds, device = [], predictor.loaded.run.device
    for image in (images[0], *images):  # the first one warms up
        batch = [{"image": image, "height": image.shape[1], "width": image.shape[2]}]
        models = (predictor.model, exported)
        with torch.no_grad():
            seconds.append([timed(partial(model, batch), device) for model in models])
    own, files = (statistics.median(times) for times in zip(*seconds[1:], strict=True))
    ratio = statistics.median(before / after for before, after in seconds[1:])
    return f"speed: {files:.3f} s an image, {own:.3f} s by the model itself ({ratio:.2f} times)"


def compare(results: dict, source: str) -> list[str]:
    """Set an exported file's AP beside that of the run's results.json, if there is one."""
    known = read_results(source) if os.path.isfile(os.path.join(source, RESULTS)) else {}
    lines = []
    for task, metrics in results.items():
        line = f"{task}: AP {metrics['AP']:.2f}"
        before = known.get(task, {}).get("AP")
        if before is not None:
            line += f", {before:.2f} in {RESULTS} ({metrics['AP'] - before:+.2f})"
        lines.append(line)
    return lines


@exit_status
def main(argv: list[str] | None = None) -> None:
    """Write the file, and evaluate it if that is wanted."""
    args = argument_parser().parse_args(argv)
    if args.precision == "fp16" and args.format != "onnx":
        raise UserError("--precision fp16 is for --format onnx; TorchScript has fp32 alone.")
    predictor = Predictor(
        args.source,
        config_file=args.config_file,
        overrides=args.opts,
        device=args.device,
        allow=args.allow,
    )
    loaded = predictor.loaded
    image = find_sample(predictor, args.sample_image).to(loaded.run.device)
    half = args.precision == "fp16"
    path = os.path.join(args.output, f"model{'_fp16' if half else ''}.{SUFFIX[args.format]}")
    if args.format == "onnx":
        write_onnx(loaded, image, path, half)
    else:
        write_torchscript(loaded, image, path)
    print(f"{path}: {os.path.getsize(path) / 1e6:.1f} MB")
    if args.run_eval:
        onnx, device = args.format == "onnx", loaded.run.device
        exported = ExportedDetector(open_onnx(path) if onnx else open_torchscript(path, device))
        print("\n".join(compare(evaluate(loaded, exported), args.source)))
        print(compare_speed(predictor, exported, image))


if __name__ == "__main__":
    sys.exit(main())
