"""What training and evaluation read from a config alike."""

import os
import tempfile

import torch
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from imted.errors import UserError

AMP_DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}


TRAIN_KEYS = (
    *("output_dir", "init_checkpoint", "max_iter", "seed", "device", "amp", "accumulation_steps"),
    *("clip_grad", "frozen", "frozen_eval", "ema", "ddp", "checkpointer"),
    *("eval_period", "best_metric", "log_period"),
)
LEAST = {
    "train.max_iter": 0,
    "train.seed": 0,
    "train.accumulation_steps": 1,
    "train.eval_period": 0,
    "train.checkpointer.period": 1,
    "train.checkpointer.max_to_keep": 1,
    "train.log_period": 1,
    "train.clip_grad.max_norm": 0,
    "train.ema.decay": 0,
    "optimizer.lr": 0,
    "optimizer.weight_decay": 0,
    "dataloader.train.num_workers": 0,
    "dataloader.test.num_workers": 0,
}
OPTIONAL = (  # None, or absent from a config that does without
    *("train.checkpointer.max_to_keep", "optimizer.lr", "optimizer.weight_decay"),
    *("dataloader.train.num_workers", "dataloader.test.num_workers"),
)


def check_settings(cfg: DictConfig):
    """Raise UserError when a value in `train` is missing, or any value is out of its range."""
    missing = [key for key in TRAIN_KEYS if key not in cfg.train]
    if missing:
        raise UserError(f"The config's train lacks {', '.join(missing)}.")
    for key, minimum in LEAST.items():
        try:
            value = OmegaConf.select(cfg, key)
        except OmegaConfBaseException as error:  # it refers to what isn't there
            reason = str(error).splitlines()[0]
            raise UserError(f"{key} has no value ({reason}); set {key}.") from error
        if value is None and key in OPTIONAL:
            continue
        if value is None or value < minimum:
            raise UserError(f"{key} is {value}; it must be at least {minimum}.")
    frozen = cfg.train.frozen
    if frozen is None or not all(isinstance(name, str) for name in frozen):
        raise UserError(f"train.frozen is {frozen}; it must be a list of modules and parameters.")
    amp_dtype(cfg)
    train_device(cfg)


def make_output_dir(cfg: DictConfig):
    """Make `train.output_dir`.

    Raises:
        UserError: it can't be made, or nothing can be written into it.
    """
    path = cfg.train.output_dir
    try:
        os.makedirs(path, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise UserError(
            f"{path!r} (train.output_dir) can't be written to ({error.strerror}); name a folder "
            "that can."
        ) from None


def train_device(cfg: DictConfig) -> torch.device:
    """Return the device of `train.device`; "auto" is a GPU where there is one.

    Raises:
        UserError: it is none of auto, cuda and cpu, or there is no GPU.
    """
    name = cfg.train.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name not in ("cuda", "cpu"):
        raise UserError(f'train.device is "{name}"; it must be "auto", "cuda" or "cpu".')
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError('train.device is "cuda", but there is no GPU; use "auto" or "cpu".')
    return torch.device(name)


def amp_dtype(cfg: DictConfig) -> torch.dtype | None:
    """Return the dtype of autocast, None when `train.amp` is off.

    Raises:
        UserError: the dtype is unknown, or is fp16 on a CPU.
    """
    if not cfg.train.amp.enabled:
        return None
    name = cfg.train.amp.dtype
    if name not in AMP_DTYPES:
        raise UserError(f'train.amp.dtype is "{name}"; it must be "fp16" or "bf16".')
    if name == "fp16" and train_device(cfg).type == "cpu":
        raise UserError('train.amp.dtype "fp16" needs a GPU; on a CPU use "bf16".')
    return AMP_DTYPES[name]
