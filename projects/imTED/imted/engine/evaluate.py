"""Evaluation of a model on the config's test set."""

import json
import logging
import math
import os
from collections.abc import Mapping

import torch
from detectron2.config import instantiate
from detectron2.evaluation import DatasetEvaluator, inference_on_dataset, print_csv_format
from detectron2.utils import comm
from omegaconf import DictConfig
from torch.utils.data import DataLoader

from imted.checkpoint import load_checkpoint
from imted.engine.settings import amp_dtype, train_device
from imted.errors import UserError

logger = logging.getLogger(__name__)


def build_test(cfg: DictConfig) -> tuple[DataLoader, DatasetEvaluator]:
    """Load the config's test set and build its evaluator."""
    return instantiate(cfg.dataloader.test), instantiate(cfg.dataloader.evaluator)


def do_test(cfg: DictConfig, model: torch.nn.Module) -> dict:
    """Evaluate, print the table and write `<output_dir>/results.json`.

    Args:
        cfg: the config; without `dataloader.test` (pre-training) there is nothing to evaluate.
        model: the model itself, not its DDP wrapper: processes see unequal numbers of images.

    Returns:
        `{"bbox": {"AP": …}, …}` in percent on the main process, `{}` on the others.
    """
    if cfg.dataloader.get("test") is None:
        logger.info("The config has no dataloader.test: nothing to evaluate.")
        return {}
    loader, evaluator = build_test(cfg)
    dtype = amp_dtype(cfg)
    with torch.autocast(train_device(cfg).type, dtype, enabled=dtype is not None):
        results = inference_on_dataset(model, loader, evaluator)
    if not comm.is_main_process():
        return {}
    print_csv_format(results)
    path = os.path.join(cfg.train.output_dir, "results.json")
    with open(path, "w") as f:
        json.dump(_plain(results), f, indent=2)
    logger.info("Results are in %s", path)
    return results


def evaluate_checkpoint(cfg: DictConfig) -> dict:
    """Evaluate the weights in `train.init_checkpoint`, their average when EMA is enabled.

    Raises:
        UserError: no checkpoint is named, or it isn't one of a trained model (and its average).
    """
    path = cfg.train.init_checkpoint
    if not path:
        raise UserError(
            "--eval-only needs weights: add train.init_checkpoint=<output_dir>/model_final.pth."
        )
    model = instantiate(cfg.model).to(train_device(cfg))
    fresh = load_checkpoint(model, path, averaged=cfg.train.ema.enabled).fresh
    if fresh:
        raise UserError(
            f"{path} (train.init_checkpoint) isn't a trained model: it lacks {next(iter(fresh))} "
            f"and {len(fresh) - 1} more; --eval-only needs what a training has saved, such as "
            f"train.init_checkpoint={cfg.train.output_dir}/model_final.pth."
        )
    return do_test(cfg, model)


def _plain(results):
    """Turn results into what JSON can hold: NaN (a metric without any object) becomes null."""
    if isinstance(results, Mapping):
        return {key: _plain(value) for key, value in results.items()}
    return float(results) if math.isfinite(results) else None
