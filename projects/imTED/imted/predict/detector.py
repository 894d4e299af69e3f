"""Find a trained detector's config and weights, and build it as its file says."""

import contextlib
import logging
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from detectron2.utils import comm
from detectron2.utils.file_io import PathManager
from omegaconf import DictConfig, ListConfig, OmegaConf
from torch import nn

from imted.checkpoint import Description, load_trained, read_description
from imted.config.dataset import without_masks
from imted.config.load import build, load_config, override_config
from imted.config.resolve import Run
from imted.data import read_coco
from imted.data.coco_json import categories_of
from imted.errors import UserError
from imted.precision import leave_slow_bfloat16
from imted.run_folder import CONFIG, FINAL, find_weights
from imted.training.describe import describe, registered_categories

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedDetector:
    """A trained detector, ready to predict.

    Attributes:
        model: In evaluation mode, on `run.device`.
        run: Its config, device and precision.
        description: What its file says of itself, or what is assumed if it says nothing.
        weights: The file.
    """

    model: nn.Module
    run: Run
    description: Description
    weights: str


def load_detector(
    source: str,
    config_file: str = "",
    overrides: Sequence[str] = (),
    device: str | None = None,
    allow: Collection[str] = (),
) -> nn.Module:
    """Return a trained detector in evaluation mode, with its file's classes; see `load_run`."""
    return load_run(source, config_file, overrides, device, allow).model


def load_run(
    source: str,
    config_file: str = "",
    overrides: Sequence[str] = (),
    device: str | None = None,
    allow: Collection[str] = (),
) -> LoadedDetector:
    """Build a trained detector and load its weights.

    What the file says of itself is put into the config, so no data set is needed: classes, masks,
    channel order, normalisation and the test images' resize. A file that says nothing, of an
    earlier version or released by imTED's authors, is taken as the config says.

    Args:
        source: The folder of a training, or a file of weights (a path or URL).
        config_file: The config; by default the config.yaml beside the weights.
        overrides: `key=value`, see `imted.config.load.load_config`; they have the last
            word.
        device: By default the GPU where there is one.
        allow: Packages, classes or functions of yours that a config.yaml may name, see
            `imted.allowed`.

    Raises:
        UserError: There are no weights or no config, the weights are no trained detector's, or
            they don't fit the config.
    """
    config_file, weights = _find(os.fspath(source), config_file)
    cfg = load_config(config_file, allow=allow)
    description = read_description(weights, "weights")
    if description is not None:
        _apply(cfg, description)
    cfg.train.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    override_config(cfg, overrides, config_file)
    leave_slow_bfloat16(cfg, overrides)
    if cfg.train.amp.dtype == "fp16" and torch.device(cfg.train.device).type == "cpu":
        cfg.train.amp.enabled = False  # there is none on a CPU
    run = Run.of(cfg)
    if "num_classes" not in (cfg.model.get("roi_heads") or {}):
        raise UserError(
            f"{config_file} describes no detector: its model has no roi_heads of classes."
        )
    model = build(cfg.model, "model").to(run.device).eval()
    load_trained(model, weights, averaged=cfg.train.ema.enabled)
    if description is None:
        description = _assume(model, cfg, weights)
    return LoadedDetector(model, run, description, weights)


def named_weights(
    config_file: str, overrides: Sequence[str] = (), allow: Collection[str] = ()
) -> str:
    """Return the weights that a config and its overrides name, as a source of `load_run`.

    Args:
        config_file: A config; that of a training stands for the training's own weights.
        overrides: `train.init_checkpoint=…` among them comes first.
        allow: See `load_run`.

    Raises:
        UserError: Nothing names any.
    """
    key = "train.init_checkpoint="
    named = [override.removeprefix(key) for override in overrides if override.startswith(key)]
    if named:
        return named[-1]
    if os.path.basename(config_file) == CONFIG:
        return os.path.dirname(config_file) or "."
    path = load_config(config_file, allow=allow).train.init_checkpoint
    if not path:
        raise UserError(
            f"{config_file} names no weights; add {key}<folder of a training>/{FINAL} "
            "(after --opts)."
        )
    return path


def _find(source: str, config_file: str) -> tuple[str, str]:
    """Return the paths of a detector's config and weights."""
    weights = find_weights(source) if os.path.isdir(source) else source
    folder = os.path.dirname(weights)
    if "://" not in weights and not os.path.exists(weights):
        raise UserError(f"{weights} doesn't exist; name a run's folder, or a file of weights.")
    if not config_file:
        config_file = os.path.join(folder, CONFIG)
        if not PathManager.isfile(config_file):
            raise UserError(
                f"There is no {CONFIG} beside the weights in {folder or '.'}; name the config that "
                "they were trained with (--config-file)."
            )
    return config_file, weights


def _apply(cfg: DictConfig, description: Description) -> None:
    """Let a config follow from what the weights' file says of itself."""
    heads = cfg.model.get("roi_heads")
    if heads is None:
        return
    heads.num_classes = len(description.classes)
    if not description.masks and heads.get("mask_head") is not None:
        without_masks(cfg.model)
    cfg.model.input_format = description.input_format
    cfg.model.pixel_mean = list(description.pixel_mean)
    cfg.model.pixel_std = list(description.pixel_std)
    mapper = OmegaConf.select(cfg, "dataloader.test.mapper")
    if mapper is not None:
        mapper.image_format = description.input_format
        if description.augmentations is not None:
            mapper.augmentations = ListConfig([dict(call) for call in description.augmentations])


def _assume(model: nn.Module, cfg: DictConfig, weights: str) -> Description:
    """Describe a detector whose file says nothing, and say what is assumed."""
    classes = cast(Any, model).roi_heads.num_classes
    # What is registered under the names of a config's own data set may be another's.
    registered = {} if cfg.get("dataset") else registered_categories(cfg)
    candidates = {
        "the data set that the config names": registered,
        "the json that the config names": _json_categories(cfg),
        "their numbers, for want of any other": {i: f"class {i}" for i in range(classes)},
    }
    origin = next(name for name, found in candidates.items() if len(found) == classes)
    log = logger.warning if comm.is_main_process() else logger.debug
    log(
        "%s says nothing of itself. Assumed: the %d classes' names from %s; resize and "
        "normalisation of images from the config.",
        weights,
        classes,
        origin,
    )
    return cast(Description, describe(model, cfg, candidates[origin]))


def _json_categories(cfg: DictConfig) -> dict[int, str]:
    """Return names by id of the json that a config's data set names, if it is still there."""
    for path in (OmegaConf.select(cfg, f"dataset.{split}_json") for split in ("train", "val")):
        with contextlib.suppress(UserError):
            if path and (categories := categories_of(read_coco(path, "categories"))):
                return categories
    return {}
