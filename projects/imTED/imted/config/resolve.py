"""What runs: a config file and overrides, resolved once; nobody writes to the config later."""

import copy
import math
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from imted.config.dataset import complete_from_dataset
from imted.config.load import build, load_config
from imted.config.settings import AMP_DTYPES, check_settings
from imted.data.dataset import Split
from imted.errors import UserError
from imted.precision import leave_slow_bfloat16
from imted.run_folder import CONFIG, read_last

EVALUATION = "eval"
"""The folder in `train.output_dir` that an evaluation writes into."""
Start = Callable[[DictConfig, torch.device], AbstractContextManager]


@dataclass(frozen=True)
class Run:
    """A config and what it says of the machine and of its data.

    Attributes:
        cfg: The config, read-only.
        device: Where the model of this process is.
        amp_dtype: The precision of autocast; None for full precision.
        found: What the check of the config's own data set has found, by split.
        epoch: Iterations of an epoch, where `train.epochs` counts them; else None.
    """

    cfg: DictConfig
    device: torch.device
    amp_dtype: torch.dtype | None
    found: Mapping[str, Split] = field(default_factory=dict)
    epoch: float | None = None

    @classmethod
    def of(cls, cfg: DictConfig) -> "Run":
        """Return the run of a config that is complete, and make the config read-only.

        Raises:
            UserError: See `check_machine`.
        """
        device, amp_dtype = check_machine(cfg)
        return cls(_frozen(cfg), device, amp_dtype)

    def changed(self, values: Mapping[str, Any]) -> "Run":
        """Return this run with other values of its config, by their full keys."""
        cfg = _writable(self.cfg)
        for key, value in values.items():
            OmegaConf.update(cfg, key, value)
        return replace(self, cfg=_frozen(cfg))

    def with_test_set(self) -> "Run":
        """Return this run with what follows from its config's own test set, which it registers.

        Raises:
            UserError: See `imted.config.dataset.complete_from_dataset`.
        """
        cfg = _writable(self.cfg)
        found = complete_from_dataset(cfg, training=False)
        return replace(self, cfg=_frozen(cfg), found=found)

    def iterations(self, period: int) -> int:
        """Return a period of `train` in iterations, whichever the config counts in."""
        return period if self.epoch is None else _in_iterations(period, self.epoch)

    def autocast(self) -> AbstractContextManager:
        """Return the context of mixed precision, or one that does nothing."""
        return torch.autocast(self.device.type, self.amp_dtype, enabled=self.amp_dtype is not None)


def resolve(
    path: str,
    overrides: Sequence[str] = (),
    *,
    allow: Collection[str] = (),
    evaluation: bool = False,
    num_machines: int = 1,
    start: Start = lambda cfg, device: nullcontext(),
) -> Run:
    """Turn a config file and overrides into what runs.

    What it returns, written as a config.yaml and resolved again, is the same. All processes of a
    distributed run must call this, or be handed what one of them got.

    Args:
        path: See `imted.config.load.load_config`.
        overrides: The same.
        allow: The same.
        evaluation: Whether the model is only evaluated: it has a folder of its own, so that a
            training's files stay, and needs no training data.
        num_machines: Of those that train together.
        start: Is called once all but the data is known to be right; data are read, and written to
            the config's folder, within the context that it returns.

    Raises:
        UserError: The file, an override, a value, the machine or the data is wrong.
    """
    cfg = load_config(path, overrides, allow)
    folder = cfg.train.output_dir
    if evaluation and (os.path.basename(folder) != EVALUATION or read_last(folder)):
        cfg.train.output_dir = os.path.join(folder, EVALUATION)
    if cfg.dataloader.get("test") is None and "evaluator" in cfg.dataloader:
        cfg.dataloader.evaluator = None  # it refers to the test set
    device, amp_dtype = check_machine(cfg)
    # A training goes on in what it has begun in; machines that each measure could disagree.
    as_stated = (os.path.basename(path) == CONFIG and not evaluation) or num_machines > 1
    with start(cfg, device):
        if not as_stated and leave_slow_bfloat16(cfg, overrides):
            amp_dtype = None
        found = complete_from_dataset(cfg, training=not evaluation)
        epoch = None if evaluation else count_epoch(cfg)
    cfg.train.overwrite = False  # it was this command's wish, not the next one's
    return Run(_frozen(cfg), device, amp_dtype, found, epoch)


def check_machine(cfg: DictConfig) -> tuple[torch.device, torch.dtype | None]:
    """Return the device and the dtype of autocast that a config names.

    Raises:
        UserError: A value of the config is out of its range, the device isn't there, or the
            dtype isn't for it.
    """
    check_settings(cfg)
    name, amp = cfg.train.device, cfg.train.amp
    try:
        device = torch.device(name)
        count = torch.get_device_module(device).device_count()
    except (RuntimeError, AttributeError):
        raise UserError(
            f'train.device is "{name}"; it must be cpu, cuda, one such as cuda:1, or what torch '
            "calls another accelerator (mps, xpu)."
        ) from None
    if (device.index or 0) >= count:
        raise UserError(
            f'train.device is "{name}", and this machine has {count} of "{device.type}" that this '
            "torch can use; set train.device=cpu or another."
        )
    if amp.enabled and amp.dtype == "fp16" and device.type == "cpu":
        raise UserError('train.amp.dtype "fp16" needs a GPU; on a CPU use "bf16".')
    return device, AMP_DTYPES[amp.dtype] if amp.enabled else None


def count_epoch(cfg: DictConfig) -> float | None:
    """Let `train.max_iter` follow from `train.epochs`, in place, where the config counts these.

    Returns:
        The iterations of an epoch; None where the config counts iterations.

    Raises:
        UserError: The number of training images isn't known.
    """
    if cfg.train.epochs is None:
        return None
    loader = cfg.dataloader.train
    try:
        images = len(build(loader.dataset, "dataloader.train.dataset"))
        epoch = images / (loader.total_batch_size * cfg.train.accumulation_steps)
    except (AttributeError, TypeError):
        raise UserError(
            "train.epochs needs a dataloader.train with a dataset of known length and a "
            "total_batch_size; set train.epochs=null and train.max_iter."
        ) from None
    cfg.train.max_iter = _in_iterations(cfg.train.epochs, epoch)
    return epoch


def _in_iterations(epochs: float, epoch: float) -> int:
    return math.ceil(epochs * epoch - 1e-6)


def _frozen(cfg: DictConfig) -> DictConfig:
    OmegaConf.set_readonly(cfg, True)
    return cfg


def _writable(cfg: DictConfig) -> DictConfig:
    copied = copy.deepcopy(cfg)
    OmegaConf.set_readonly(copied, False)
    return copied
