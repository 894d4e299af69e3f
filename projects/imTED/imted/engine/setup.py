"""What training and evaluation read from a config alike."""

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


def check_settings(cfg: DictConfig):
    """Raise UserError when a value in `train` is missing or out of its range."""
    missing = [key for key in TRAIN_KEYS if key not in cfg.train]
    if missing:
        raise UserError(f"The config's train lacks {', '.join(missing)}.")
    least = {
        "max_iter": 0,
        "seed": 0,
        "accumulation_steps": 1,
        "eval_period": 0,
        "checkpointer.period": 1,
        "log_period": 1,
    }
    for key, minimum in least.items():
        try:
            value = OmegaConf.select(cfg.train, key)
        except OmegaConfBaseException as error:  # it refers to what isn't there
            reason = str(error).splitlines()[0]
            raise UserError(f"train.{key} has no value ({reason}); set train.{key}.") from error
        if value is None or value < minimum:
            raise UserError(f"train.{key} is {value}; it must be at least {minimum}.")
    frozen = cfg.train.frozen
    if frozen is None or not all(isinstance(name, str) for name in frozen):
        raise UserError(f"train.frozen is {frozen}; it must be a list of modules and parameters.")
    amp_dtype(cfg)
    train_device(cfg)


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
