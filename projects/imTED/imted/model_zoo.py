"""The configs that come with this project, by name, as Detectron2's model zoo has its own."""

import os
from pathlib import Path
from typing import Any

from detectron2.config import LazyConfig, instantiate
from detectron2.utils.file_io import PathHandler, PathManager
from omegaconf import DictConfig
from torch import nn

_PACKAGE = Path(__file__).resolve().parent


def _shipped(in_wheel: Path, in_checkout: Path) -> Path:
    return in_wheel if in_wheel.is_dir() else in_checkout


# In a wheel both folders are inside the package; in a checkout they are where people read them.
CONFIGS = _shipped(_PACKAGE / "configs", _PACKAGE.parents[2] / "configs")
WEIGHTS = _shipped(_PACKAGE / "weights", _PACKAGE.parent / "weights")


def get_config_file(config_path: str) -> str:
    """Return the path of a config.

    Args:
        config_path: Its name below `configs`, such as "coco/imted_mask_rcnn_vit_base_3x.py".

    Raises:
        FileNotFoundError: There is no such config.
    """
    path = CONFIGS / config_path
    if not path.is_file():
        raise FileNotFoundError(f"{config_path} is no config of imTED's model zoo.")
    return str(path)


def get_config(config_path: str) -> DictConfig:
    """Load a config by its name; see `get_config_file`."""
    return LazyConfig.load(get_config_file(config_path))


def get(config_path: str, device: str | None = None) -> nn.Module:
    """Build a config's model, with random weights.

    Args:
        config_path: See `get_config_file`.
        device: Where to; by default the config's `train.device`.
    """
    cfg = get_config(config_path)
    return instantiate(cfg.model).to(device or cfg.train.device)


class _WeightsHandler(PathHandler):
    """Find imted://weights/NAME among the weights that come with this project."""

    PREFIX = "imted://weights/"

    def _get_supported_prefixes(self) -> list[str]:
        return [self.PREFIX]

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        return os.path.join(WEIGHTS, path.removeprefix(self.PREFIX))

    def _open(self, path: str, mode: str = "r", **kwargs: Any) -> Any:
        return PathManager.open(self._get_local_path(path), mode, **kwargs)

    def _isfile(self, path: str, **kwargs: Any) -> bool:
        return os.path.isfile(self._get_local_path(path))

    def _exists(self, path: str, **kwargs: Any) -> bool:
        return os.path.exists(self._get_local_path(path))


PathManager.register_handler(_WeightsHandler(), allow_override=True)
