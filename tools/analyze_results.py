#!/usr/bin/env python
"""Say where a detector's predictions go wrong, or whether two runs differ, in a page to open."""

import argparse
import os
import sys
from dataclasses import dataclass

from imted.config.saved import read_values
from imted.data import read_coco
from imted.errors import UserError, exit_status
from imted.extras.analysis.evaluation import evaluate
from imted.extras.analysis.inputs import TASKS, Truth, read_predictions, require_same
from imted.extras.analysis.report import PAGE, write_analysis, write_comparison
from imted.run_folder import CONFIG, PREDICTIONS, REPAIRED

from detectron2.data import MetadataCatalog
from omegaconf import DictConfig, OmegaConf
from pycocotools.cocoeval import COCOeval

EPILOG = """\
examples
  python tools/analyze_results.py output/quickstart
  python tools/analyze_results.py --compare output/quickstart output/other
  python tools/analyze_results.py --json val.json --images val --predictions results.json \\
      --output analysis
"""


@dataclass(frozen=True)
class Evaluated:
    """Predictions that have been matched to their data set."""

    title: str
    truth: Truth
    evaluation: COCOeval


def argument_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("run", nargs="?", help="the folder of a training, or of an evaluation")
    add("--compare", nargs=2, metavar="RUN", help="two of them, on one val set")
    add("--predictions", metavar="FILE", help="COCO results instead of a run's")
    add("--json", metavar="FILE", help="the annotations; by default those of the run's config")
    add("--images", metavar="FOLDER", help="the folder that their file names start from")
    add("--output", metavar="FOLDER", help="where the report goes; by default RUN/analysis")
    add("--task", choices=TASKS, default="bbox", help="boxes or masks (default: bbox)")
    add("--confidence-threshold", type=float, metavar="SCORE",
        help="least score in counts and pictures; by default that of the best F1")  # fmt: skip
    add("--num-images", type=int, default=12, metavar="N",
        help="how many of the worst images are drawn (default: 12)")  # fmt: skip
    return parser


def load_run(run: str, args: argparse.Namespace) -> Evaluated:
    """Evaluate the predictions in a run's folder."""
    predictions = args.predictions or os.path.join(run, PREDICTIONS)
    if not os.path.isdir(run):
        raise UserError(f"There is no run folder {run}.")
    if not os.path.isfile(predictions):
        raise UserError(
            f"{predictions}: there is no such file; a run has it when it has evaluated its model "
            "(train_net.py --eval-only)."
        )
    if args.json:
        return load_files(predictions, args, title=run)
    json_file, images = _val_set(read_values(os.path.join(run, CONFIG)), run)
    return _evaluate(run, json_file, args.images or images, predictions, args.task)


def load_files(predictions: str, args: argparse.Namespace, title: str) -> Evaluated:
    """Evaluate predictions on the annotations that the command line names."""
    return _evaluate(title, args.json, args.images or "", predictions, args.task)


def _evaluate(title: str, json_file: str, images: str, predictions: str, task: str) -> Evaluated:
    truth = Truth.of(json_file, images, read_coco(json_file))
    found = read_predictions(predictions, truth, task)
    return Evaluated(title, truth, evaluate(truth.coco, found, task))


def _val_set(cfg: DictConfig, run: str) -> tuple[str, str]:
    """Return the json and the images that a run was evaluated on."""
    if cfg.get("dataset"):
        repaired = os.path.join(run, REPAIRED.format(split="val"))  # the copy that was evaluated on
        json_file = repaired if os.path.isfile(repaired) else cfg.dataset.val_json
        return json_file, cfg.dataset.val_images
    names = OmegaConf.select(cfg, "dataloader.test.dataset.names")
    name = names if isinstance(names, str) or not names else names[0]
    metadata = MetadataCatalog.get(name) if name in MetadataCatalog.list() else None
    if metadata is None or not metadata.get("json_file"):
        raise UserError(
            f"The config of {run} names no COCO json (dataloader.test.dataset.names is {name!r}); "
            "give --json and --images."
        )
    return metadata.json_file, metadata.image_root


@exit_status
def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    args = argument_parser().parse_args(argv)
    if args.num_images < 0:
        raise UserError(f"--num-images is {args.num_images}; it must be at least 0.")
    threshold = args.confidence_threshold
    if threshold is not None and not 0 <= threshold <= 1:
        raise UserError(f"--confidence-threshold is {threshold}; it must be from 0 to 1.")
    if args.compare:
        if args.run or args.predictions:
            raise UserError("--compare takes two run folders and no other predictions.")
        first, second = (load_run(run, args) for run in args.compare)
        require_same(first.truth, second.truth)
        output = args.output or os.path.join(args.compare[1], "comparison")
        titles = (first.title, second.title)
        result = write_comparison(titles, first.truth, first.evaluation, second.evaluation, output)
        print(result["sentence"])
    else:
        if args.run:
            evaluated = load_run(args.run, args)
        elif args.predictions and args.json and args.output:
            evaluated = load_files(args.predictions, args, title=args.predictions)
        else:
            raise UserError("Give a run's folder, or --predictions, --json and --output.")
        output = args.output or os.path.join(args.run, "analysis")
        result = write_analysis(
            evaluated.title,
            evaluated.truth,
            evaluated.evaluation,
            output,
            threshold,
            args.num_images,
        )
        _print_summary(result)
    print(os.path.join(output, PAGE))


def _print_summary(result: dict) -> None:
    ap = ", ".join(f"{k} {v:.1f}" for k, v in result["metrics"].items() if v is not None)
    print(f"{TASKS[result['task']]}: {ap or 'no object to be evaluated on'}")
    errors = {kind: error for kind, error in result["errors"].items() if error["dAP"] is not None}
    for kind, error in sorted(errors.items(), key=lambda item: -item[1]["dAP"]):
        print(f"  {kind:15} dAP {error['dAP']:5.1f}   {error['count']:5}")
    print(f"  (counts at a score of at least {result['threshold']:.2f})")


if __name__ == "__main__":
    sys.exit(main())
