"""What a config's `train` may hold, stated once: keys, types, defaults, ranges and choices."""

import math
import os
import tempfile
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import torch
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from imted.data import augmentation
from imted.errors import UserError, first_line

AMP_DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Range:
    """Numbers that a setting may have; infinity and NaN are in none.

    Attributes:
        least: The lowest.
        most: The highest.
        below: Whether `most` itself is too much.
        above: Whether `least` itself is too little.
    """

    least: float = -math.inf
    most: float = math.inf
    below: bool = False
    above: bool = False

    def __contains__(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        low = value > self.least if self.above else value >= self.least
        high = value < self.most if self.below else value <= self.most
        return low and high and (isinstance(value, int) or math.isfinite(value))

    def __str__(self) -> str:
        parts = ["a number"]
        if self.least > -math.inf:
            parts.append(f"{'above' if self.above else 'at least'} {self.least}")
        if self.most < math.inf:
            parts.append(f"{'below' if self.below else 'at most'} {self.most}")
        return " and ".join(parts[1:]) or "finite"


def _setting(
    default: Any,
    least: float = -math.inf,
    most: float = math.inf,
    below: bool = False,
    choices: tuple = (),
) -> Any:
    """State a setting's default value, with its range or choices."""
    metadata = {"range": Range(least, most, below), "choices": choices}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass
class AmpSettings:
    """Mixed precision."""

    enabled: bool = False
    dtype: str = _setting("bf16", choices=tuple(AMP_DTYPES))  # fp16 needs a GPU


@dataclass
class ClipGradSettings:
    """Clipping of the norm of all gradients together."""

    enabled: bool = False
    max_norm: float = _setting(1.0, least=0)
    norm_type: float = _setting(2.0, least=0)


@dataclass
class EMASettings:
    """Exponential moving average of the weights, which evaluation then uses."""

    enabled: bool = False
    decay: float = _setting(0.9998, least=0, most=1, below=True)


@dataclass
class CheckpointerSettings:
    """Checkpoints that a run can be resumed from."""

    period: int = _setting(5000, least=1)  # iterations
    max_to_keep: int | None = _setting(3, least=1)  # files; null keeps all


@dataclass
class EarlyStopSettings:
    """An end before `max_iter`, once `best_metric` gets no better; needs evaluations."""

    # Evaluations in a row that are no better than the best; null trains to the end.
    patience: int | None = _setting(None, least=1)


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
    """Everything about a run that is neither model, data nor optimizer."""

    # Checkpoints, log.txt, metrics.json, results.json.
    output_dir: str = "./output"
    # A MAE checkpoint to migrate, or a detector's; a path or any URL that iopath reads.
    init_checkpoint: str = ""
    # Optimizer steps.
    max_iter: int = _setting(90000, least=0, most=2**31 - 1)
    # In place of max_iter; eval_period and checkpointer.period are then in epochs, too.
    epochs: float | None = _setting(None, least=0)
    # Whether a new run may take the place of the one that output_dir holds.
    overwrite: bool = False
    # Of weights, data order and augmentation.
    seed: int = _setting(0, least=0, most=2**32 - 1)
    # A name that torch.device takes: cpu, cuda, cuda:1.
    device: str = _setting(lambda: "cuda" if torch.cuda.is_available() else "cpu")
    amp: AmpSettings = field(default_factory=AmpSettings)
    # Batches per optimizer step.
    accumulation_steps: int = _setting(1, least=1)
    # Steps in a row without a finite loss and gradient that end the run; each of them is skipped.
    max_bad_steps: int = _setting(30, least=1)
    clip_grad: ClipGradSettings = field(default_factory=ClipGradSettings)
    # Parts of the model that don't train, such as "backbone".
    frozen: list[str] = field(default_factory=list)
    # Whether frozen parts run in evaluation mode: no drop path, no dropout, no new statistics.
    frozen_eval: bool = True
    ema: EMASettings = field(default_factory=EMASettings)
    # Arguments of DistributedDataParallel, and gradients sent in half precision: in float16 by
    # Detectron2's option; bfloat16 has float32's range.
    ddp: dict[str, Any] = field(default_factory=_default_ddp)
    # Whether each process keeps a part of the optimizer's state alone; for large models.
    shard_optimizer: bool = False
    checkpointer: CheckpointerSettings = field(default_factory=CheckpointerSettings)
    # Iterations; 0 evaluates at the end alone.
    eval_period: int = _setting(5000, least=0)
    # Keep model_best.pth by this result, such as bbox/AP; "" doesn't.
    best_metric: str = "bbox/AP"
    early_stop: EarlyStopSettings = field(default_factory=EarlyStopSettings)
    # Whether each evaluation computes the losses of the test set, too: validation/total_loss.
    validation_loss: bool = False
    # Test images that each evaluation draws for TensorBoard, predictions beside the truth.
    validation_images: int = _setting(0, least=0)
    # Iterations.
    log_period: int = _setting(20, least=1)
    wandb: WandbSettings = field(default_factory=WandbSettings)


_SHARE = Range(0, 1)
_SAMPLES = {"batch_size_per_image": Range(1), "positive_fraction": _SHARE}
_DROP = Range(0, 1, below=True)
# Of settings that belong to no class of ours; what a config doesn't have is left out.
_OTHER_RANGES = {
    "train.ddp.bucket_cap_mb": Range(1),
    "optimizer.lr": Range(0),
    "optimizer.weight_decay": Range(0),
    "optimizer.eps": Range(0),
    "optimizer.momentum": Range(0, 1, below=True),
    "optimizer.betas": Range(0, 1, below=True),
    "optimizer.params.layer_decay": Range(0, 1, above=True),
    "lr_multiplier.warmup_length": _SHARE,
    "lr_multiplier.warmup_factor": _SHARE,
    "dataloader.train.num_workers": Range(0),
    "dataloader.train.total_batch_size": Range(1, 2**16),
    "dataloader.test.num_workers": Range(0),
    "dataloader.test.batch_size": Range(1),
    "model.pixel_mean": Range(),
    "model.pixel_std": Range(0, above=True),
    "model.mask_ratio": Range(0, 1, below=True),
    "model.backbone.net.drop_path_rate": _DROP,
    "model.roi_heads.box_head.drop_path_rate": _DROP,
    "model.backbone.net.num_heads": Range(1),
    "model.roi_heads.box_head.num_heads": Range(1),
    **{f"model.proposal_generator.{key}": value for key, value in _SAMPLES.items()},
    **{f"model.roi_heads.{key}": value for key, value in _SAMPLES.items()},
    "model.proposal_generator.nms_thresh": _SHARE,
    "model.roi_heads.num_classes": Range(1),
    "model.roi_heads.box_predictor.test_nms_thresh": _SHARE,
    "model.roi_heads.box_predictor.test_score_thresh": _SHARE,
    "model.roi_heads.box_predictor.test_topk_per_image": Range(1),
}
_FORMATS = ("RGB", "BGR")
_OTHER_CHOICES = {
    "model.input_format": _FORMATS,
    "dataloader.train.mapper.image_format": _FORMATS,
    "dataloader.test.mapper.image_format": _FORMATS,
    "dataloader.train.augmentation": augmentation.NAMES,
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
    _check_ranges(cfg, "train", TrainSettings)
    for key in ("model", "optimizer", "lr_multiplier", "dataloader.train"):
        if _select(cfg, key) is None:
            raise UserError(f"{key} is null; a run needs it.")
    for key, allowed in _OTHER_RANGES.items():
        value = _select(cfg, key)
        for number in value if isinstance(value, ListConfig) else (value,):
            if isinstance(number, int | float) and number not in allowed:
                raise UserError(f"{key} is {value}; it must be {allowed}.")
    for key, choices in _OTHER_CHOICES.items():
        _check_choice(key, _select(cfg, key), choices)
    _check_finite(cfg)
    train, test = cfg.train, _select(cfg, "dataloader.test")
    if train.early_stop.patience is not None and not (
        train.eval_period and train.best_metric and test is not None
    ):
        raise UserError(
            "train.early_stop.patience needs evaluations to look at: set train.eval_period, "
            "train.best_metric and dataloader.test."
        )
    if _select(cfg, "train.ddp.fp16_compression") and _select(cfg, "train.ddp.bf16_compression"):
        raise UserError("train.ddp: set fp16_compression or bf16_compression, not both.")
    if _select(cfg, "dataloader.test") is not None and _select(cfg, "dataloader.evaluator") is None:
        raise UserError(
            "dataloader.evaluator is null; it is needed where there is a dataloader.test "
            "(dataloader.test=null evaluates nothing)."
        )


def _check_finite(node: Any) -> None:
    """Refuse infinity and NaN, wherever they stand."""
    for key in node if isinstance(node, DictConfig) else range(len(node)):
        if OmegaConf.is_missing(node, key) or node._get_node(key)._is_interpolation():
            continue
        value = node[key]
        if isinstance(value, DictConfig | ListConfig):
            _check_finite(value)
        elif isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{node._get_full_key(key)} is {value}; it must be finite.")


def _check_choice(key: str, value: Any, choices: tuple) -> None:
    if value is not None and choices and value not in choices:
        raise UserError(f'{key} is "{value}"; it must be {" or ".join(map(repr, choices))}.')


def _check_ranges(cfg: DictConfig, prefix: str, kind: type) -> None:
    for setting in fields(kind):
        key = f"{prefix}.{setting.name}"
        value = _select(cfg, key)
        if value is None:
            if setting.type not in (int | None, float | None, str | None):
                raise UserError(f"{key} is null; give it a value.")
            continue
        if isinstance(setting.type, type) and is_dataclass(setting.type):
            _check_ranges(cfg, key, setting.type)
            continue
        allowed = setting.metadata.get("range", Range())
        _check_choice(key, value, setting.metadata.get("choices", ()))
        if isinstance(value, int | float) and not isinstance(value, bool) and value not in allowed:
            raise UserError(f"{key} is {value}; it must be {allowed}.")


def _select(cfg: DictConfig, key: str) -> Any:
    try:
        return OmegaConf.select(cfg, key)
    except OmegaConfBaseException as error:  # it refers to what isn't there
        reason = first_line(error)
        raise UserError(f"{key} has no value ({reason}); set {key}.") from error


@dataclass(frozen=True)
class Run:
    """A config, and what it says of the machine, resolved once.

    Attributes:
        cfg: The config.
        device: Where the model is.
        amp_dtype: The precision of autocast; None for full precision.
    """

    cfg: DictConfig
    device: torch.device
    amp_dtype: torch.dtype | None

    @classmethod
    def resolve(cls, cfg: DictConfig) -> "Run":
        """Resolve the device and the dtype.

        Raises:
            UserError: A value of the config is out of its range, the device isn't there, or the
                dtype isn't for it.
        """
        check_settings(cfg)
        device = _device(cfg.train.device)
        amp = cfg.train.amp
        if amp.enabled and amp.dtype == "fp16" and device.type == "cpu":
            raise UserError('train.amp.dtype "fp16" needs a GPU; on a CPU use "bf16".')
        return cls(cfg, device, AMP_DTYPES[amp.dtype] if amp.enabled else None)

    def autocast(self) -> AbstractContextManager:
        """Return the context of mixed precision, or one that does nothing."""
        return torch.autocast(self.device.type, self.amp_dtype, enabled=self.amp_dtype is not None)


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cuda", "cpu"):
        raise UserError(f'train.device is "{name}"; it must be cpu, cuda or one such as cuda:1.')
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(
            f'train.device is "{name}", and this machine has {torch.cuda.device_count()} GPUs; '
            "set train.device=cpu or another."
        )
    return device


def make_output_dir(cfg: DictConfig) -> None:
    """Make `train.output_dir`, see `make_folder`."""
    make_folder(cfg.train.output_dir, "train.output_dir")


def make_folder(path: str, field: str) -> None:
    """Make a folder to write into.

    Args:
        path: Its path.
        field: What names it, for the error.

    Raises:
        UserError: It can't be made, or nothing can be written into it.
    """
    try:
        os.makedirs(path, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise UserError(
            f"{path!r} ({field}) can't be written to ({error.strerror}); name a folder that can."
        ) from None
