"""What a config's `train` may hold, stated once: keys, types, defaults, ranges and choices."""

import math
import operator
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import torch
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from imted.errors import UserError, first_line

AMP_DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}
Allowed = str | tuple[str, ...]
"""A range in words, such as "at least 0 and below 1", or all choices."""
_COMPARISONS = {
    "at least": operator.ge,
    "above": operator.gt,
    "at most": operator.le,
    "below": operator.lt,
}


def is_in_range(value: float, words: str) -> bool:
    """Tell whether a number is in a range; NaN is in none."""
    bounds = (part.rpartition(" ") for part in words.split(" and "))
    return all(_COMPARISONS[name](value, float(bound)) for name, _, bound in bounds)


def _setting(default: Any, allowed: Allowed | None = None) -> Any:
    """State a setting's default value, with its range or choices."""
    if callable(default):
        return field(default_factory=default, metadata={"allowed": allowed})
    return field(default=default, metadata={"allowed": allowed})


@dataclass
class AmpSettings:
    """Mixed precision."""

    enabled: bool = False
    dtype: str = _setting("bf16", tuple(AMP_DTYPES))  # fp16 needs a GPU


@dataclass
class ClipGradSettings:
    """Clipping of the norm of all gradients together."""

    enabled: bool = False
    max_norm: float = _setting(1.0, "at least 0")
    norm_type: float = _setting(2.0, "at least 0")


@dataclass
class EMASettings:
    """Exponential moving average of the weights, which evaluation then uses."""

    enabled: bool = False
    decay: float = _setting(0.9998, "at least 0 and below 1")


@dataclass
class CheckpointerSettings:
    """Checkpoints that a run can be resumed from."""

    period: int = _setting(5000, "at least 1")  # iterations
    max_to_keep: int | None = _setting(3, "at least 1")  # files; null keeps all


@dataclass
class EarlyStopSettings:
    """An end before `max_iter`, once `best_metric` gets no better; needs evaluations."""

    # Evaluations in a row that are no better than the best; null trains to the end.
    patience: int | None = _setting(None, "at least 1")


@dataclass
class WandbSettings:
    """A run on Weights & Biases; the package wandb is installed apart."""

    enabled: bool = False
    project: str = "imted"
    # The user or team; null is the one that is logged in.
    entity: str | None = None
    # Of the run; null takes output_dir's.
    name: str | None = None


def _default_ddp() -> dict[str, Any]:
    return dict(
        broadcast_buffers=False,
        find_unused_parameters=False,
        fp16_compression=False,
        bf16_compression=False,
        bucket_cap_mb=25,
    )


@dataclass
class TrainSettings:
    """The keys of `train`; configs/common/train.py says what each is for."""

    output_dir: str = "./output"
    init_checkpoint: str = ""
    max_iter: int = _setting(90000, f"at least 0 and at most {2**31 - 1}")
    epochs: float | None = _setting(None, "at least 0")
    overwrite: bool = False
    seed: int = _setting(0, f"at least 0 and at most {2**32 - 1}")
    device: str = _setting(lambda: "cuda" if torch.cuda.is_available() else "cpu")
    amp: AmpSettings = field(default_factory=AmpSettings)
    accumulation_steps: int = _setting(1, "at least 1")
    max_bad_steps: int = _setting(30, "at least 1")
    clip_grad: ClipGradSettings = field(default_factory=ClipGradSettings)
    frozen: list[str] = field(default_factory=list)
    frozen_eval: bool = True
    ema: EMASettings = field(default_factory=EMASettings)
    ddp: dict[str, Any] = field(default_factory=_default_ddp)
    shard_optimizer: bool = False
    checkpointer: CheckpointerSettings = field(default_factory=CheckpointerSettings)
    eval_period: int = _setting(5000, "at least 0")
    best_metric: str = "bbox/AP"
    early_stop: EarlyStopSettings = field(default_factory=EarlyStopSettings)
    validation_loss: bool = False
    validation_images: int = _setting(0, "at least 0")
    log_period: int = _setting(20, "at least 1")
    wandb: WandbSettings = field(default_factory=WandbSettings)


_FORMATS = ("RGB", "BGR")
_SHARE = "at least 0 and at most 1"
_FRACTION = "at least 0 and below 1"
# Of settings that belong to no class of ours, by key, or by their own name wherever it stands.
_OTHERS: dict[str, Allowed] = {
    "train.ddp.bucket_cap_mb": "at least 1",
    "optimizer.lr": "at least 0",
    "optimizer.weight_decay": "at least 0",
    "optimizer.momentum": _FRACTION,
    "optimizer.betas": _FRACTION,
    "layer_decay": "above 0 and at most 1",
    "warmup_length": _SHARE,
    "warmup_factor": _SHARE,
    "num_workers": "at least 0",
    "total_batch_size": f"at least 1 and at most {2**16}",
    "batch_size": "at least 1",
    "image_format": _FORMATS,
    "input_format": _FORMATS,
    "pixel_std": "above 0",
    "mask_ratio": _FRACTION,
    "drop_path_rate": _FRACTION,
    "num_classes": "at least 1",
    "batch_size_per_image": "at least 1",
    "positive_fraction": _SHARE,
    "nms_thresh": _SHARE,
    "test_nms_thresh": _SHARE,
    "test_score_thresh": _SHARE,
    "test_objectness_thresh": _SHARE,
    "test_topk_per_image": "at least 1",
}


def complete_train(cfg: DictConfig, path: str) -> None:
    """Give `cfg.train` the types of `TrainSettings`, and the defaults it doesn't set.

    Args:
        cfg: The config, changed in place. Detectron2's own configs set a part of the keys.
        path: Its file, for the error.

    Raises:
        UserError: A key is unknown, or a value is of another type.
    """
    try:
        cfg.train = OmegaConf.merge(OmegaConf.structured(TrainSettings), cfg.train)
    except OmegaConfBaseException as error:
        reason = first_line(error)
        key = f"train.{error.full_key}" if error.full_key else "train"
        raise UserError(f"{key} in {path}: {reason}; see imted/config/settings.py.") from error


def check_settings(cfg: DictConfig) -> None:
    """Raise UserError when a value is out of its range or is none of its choices."""
    for key in ("model", "optimizer", "lr_multiplier", "dataloader.train"):
        if OmegaConf.select(cfg, key, throw_on_resolution_failure=False) is None:
            raise UserError(f"{key} is null; a run needs it.")
    rules = {**_OTHERS, **dict(_rules("train", TrainSettings))}
    for key, node, name in _leaves(cfg):
        of_list = isinstance(node, ListConfig)
        setting = key.rpartition("[")[0] if of_list else key
        allowed = rules.get(setting)
        if OmegaConf.is_interpolation(node, name):
            if allowed is None:
                continue  # it is checked where it stands
        elif allowed is None:
            allowed = rules.get(setting.rpartition(".")[2])
        try:
            value = node[name]
        except OmegaConfBaseException as error:  # it refers to what isn't there
            raise UserError(f"{key} has no value ({first_line(error)}); set {key}.") from error
        if isinstance(allowed, tuple) and value is not None and value not in allowed:
            choices = " or ".join(map(repr, allowed))
            raise UserError(f'{setting} is "{value}"; it must be {choices}.')
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if isinstance(allowed, str) and not is_in_range(value, allowed):
            raise UserError(f"{setting} is {node if of_list else value}; it must be {allowed}.")
        if not math.isfinite(value):
            raise UserError(f"{key} is {value}; it must be finite.")
    _check_together(cfg)


def _rules(prefix: str, kind: type) -> Iterator[tuple[str, Allowed]]:
    for setting in fields(kind):
        key = f"{prefix}.{setting.name}"
        if isinstance(setting.type, type) and is_dataclass(setting.type):
            yield from _rules(key, setting.type)
        elif setting.metadata.get("allowed"):
            yield key, setting.metadata["allowed"]


def _leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield each value that is no group or list: its full key, what it is in, its name there."""
    of_list = isinstance(node, ListConfig)
    for name in range(len(node)) if of_list else node:
        key = f"{prefix}[{name}]" if of_list else f"{prefix}.{name}".lstrip(".")
        if OmegaConf.is_missing(node, name):
            continue
        child = None if OmegaConf.is_interpolation(node, name) else node[name]
        if isinstance(child, DictConfig | ListConfig):
            yield from _leaves(child, key)
        else:
            yield key, node, name


def _check_together(cfg: DictConfig) -> None:
    """Raise UserError when values don't go together."""
    train, data = cfg.train, cfg.dataloader
    has_test = data.get("test") is not None
    if train.early_stop.patience is not None and not (
        train.eval_period and train.best_metric and has_test
    ):
        raise UserError(
            "train.early_stop.patience needs evaluations to look at: set train.eval_period, "
            "train.best_metric and dataloader.test."
        )
    if train.ddp.get("fp16_compression") and train.ddp.get("bf16_compression"):
        raise UserError("train.ddp: set fp16_compression or bf16_compression, not both.")
    if has_test and data.get("evaluator") is None:
        raise UserError(
            "dataloader.evaluator is null; it is needed where there is a dataloader.test "
            "(dataloader.test=null evaluates nothing)."
        )
