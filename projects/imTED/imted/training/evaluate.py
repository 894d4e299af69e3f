"""Evaluation of a model on the config's test set."""

import logging
import math
import os
from collections.abc import Mapping
from typing import Any

import torch
from detectron2.evaluation import (
    COCOEvaluator,
    DatasetEvaluator,
    inference_on_dataset,
    print_csv_format,
)
from detectron2.utils import comm
from omegaconf import DictConfig, OmegaConf
from torch.utils.data import DataLoader

from imted.atomic import write_json
from imted.checkpoint import load_trained, read_description, require_finite
from imted.checkpoint.classes import extend_classes
from imted.compat import evaluate_coco_in_cpp
from imted.config.load import build
from imted.config.resolve import Run
from imted.errors import UserError
from imted.run_folder import FINAL, RESULTS
from imted.training.console import format_results, prints_to_log, show_weights
from imted.training.describe import registered_categories
from imted.training.stopping import stop_between_batches

logger = logging.getLogger(__name__)

_COCO_METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")


def build_test(cfg: DictConfig) -> tuple[DataLoader, DatasetEvaluator]:
    """Load the config's test set and build its evaluator."""
    evaluate_coco_in_cpp()
    with prints_to_log():
        return (
            build(cfg.dataloader.test, "dataloader.test"),
            build(cfg.dataloader.evaluator, "dataloader.evaluator"),
        )


def check_best_metric(cfg: DictConfig, evaluator: Any) -> None:
    """Refuse a `train.best_metric` that Detectron2's evaluation of COCO never has.

    What other evaluators have shows at the first evaluation.

    Raises:
        UserError: There is no such metric.
    """
    metric = cfg.train.best_metric
    if not metric or type(evaluator) is not COCOEvaluator:
        return
    masks = OmegaConf.select(cfg, "model.roi_heads.mask_head") is not None
    tasks = ("bbox", "segm") if masks else ("bbox",)
    task, _, name = metric.partition("/")
    if task not in tasks or not (name in _COCO_METRICS or name.startswith("AP-")):
        raise UserError(
            f'train.best_metric is "{metric}"; it must be {" or ".join(tasks)}, a slash, and one '
            f"of {', '.join(_COCO_METRICS)} or AP-<class>."
        )


def do_test(run: Run, model: torch.nn.Module) -> dict[str, Any]:
    """Evaluate, log the table and write `<output_dir>/results.json`.

    Args:
        run: The run; without `dataloader.test` (pre-training) there is nothing to evaluate.
        model: The model itself, not its DDP wrapper: processes see unequal numbers of images.

    Returns:
        `{"bbox": {"AP": ...}, ...}` in percent on the main process, `{}` on the others.

    Raises:
        UserError: A weight isn't finite.
        Stopped: A signal has asked for it.
    """
    if run.cfg.dataloader.get("test") is None:
        logger.info("The config has no dataloader.test: nothing to evaluate.")
        return {}
    require_finite(model.state_dict(), "The model")
    loader, evaluator = build_test(run.cfg)
    with run.autocast(), prints_to_log():
        stop = {"before_inference": stop_between_batches(len(loader))}
        results = inference_on_dataset(model, loader, evaluator, stop)
    if not comm.is_main_process():
        return {}
    print_csv_format(results)
    path = os.path.join(run.cfg.train.output_dir, RESULTS)
    write_json(_plain(results), path, indent=2)
    logger.info("Evaluated: %s. %s has all metrics.", format_results(results), path)
    return results


def evaluate_checkpoint(run: Run) -> dict[str, Any]:
    """Evaluate the weights in `train.init_checkpoint`, their average when EMA is enabled.

    Raises:
        UserError: No checkpoint is named, or it isn't one of a trained model (and its average).
    """
    path = run.cfg.train.init_checkpoint
    if not path:
        raise UserError(
            f"--eval-only needs weights: add train.init_checkpoint=<folder of a training>/{FINAL}."
        )
    model = build(run.cfg.model, "model").to(run.device)
    report = load_trained(model, path, averaged=run.cfg.train.ema.enabled)
    show_weights(report)
    _match_classes(model, path, run.cfg)
    return do_test(run, model)


def _match_classes(model: torch.nn.Module, path: str, cfg: DictConfig) -> None:
    """Let a detector number its classes as the test set does, which may differ from its own json's.

    Raises:
        UserError: The two don't have the same classes.
    """
    description, categories = read_description(path), registered_categories(cfg)
    if description is None or not categories:
        return
    own, theirs = list(description.classes), list(categories.values())
    if own == theirs:
        return
    if sorted(own) != sorted(theirs):
        foreign = sorted(set(theirs) ^ set(own))
        raise UserError(
            f"The classes of {path} (train.init_checkpoint) are {', '.join(own[:8])}, those of the "
            f"test set {', '.join(theirs[:8])}: {foreign[0]!r} is not in both. Evaluate it on a "
            "json with the same names of classes."
        )
    model.load_state_dict(extend_classes(model.state_dict(), own, theirs, path))
    logger.warning(
        "The test set numbers the classes otherwise than the json that %s was trained on: they are "
        "matched by their names.",
        path,
    )


def _plain(results: Any) -> Any:
    """Turn results into what JSON can hold: NaN (a metric without any object) becomes null."""
    if isinstance(results, Mapping):
        return {key: _plain(value) for key, value in results.items()}
    return float(results) if math.isfinite(results) else None
