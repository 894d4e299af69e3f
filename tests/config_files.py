"""The configs that a user can name, loaded and built for tests."""

import copy
import functools
from functools import partial
from unittest import mock

import torch
from detectron2.config import LazyConfig, instantiate
from paths import ROOT

from imted.data.dataset import count_classes


def config_names() -> list[str]:
    folder = ROOT / "configs"
    paths = (path.relative_to(folder) for path in sorted(folder.rglob("*.py")))
    parts = {"common", "ablation_points", "data_sets"}
    return [path.as_posix() for path in paths if not parts & {path.parts[0], path.stem}]


def load(name: str):
    """Load a config; where the number of classes follows from a json, it is 3."""
    return copy.deepcopy(_loaded(name))


@functools.cache
def _loaded(name: str):
    cfg = LazyConfig.load(str(ROOT / "configs" / name))
    heads = cfg.model.get("roi_heads")
    if heads is not None and not isinstance(heads.get("num_classes", 0), int):
        assert heads.num_classes._target_ is count_classes
        heads.num_classes = 3
    return cfg


def build(cfg) -> torch.nn.Module:
    """Build the model; without memory for its weights unless it is a tiny one."""
    encoder = cfg.model.encoder if "encoder" in cfg.model else cfg.model.backbone.net
    # Detectron2's ViT reads its drop path rates from a tensor, which must have values for that.
    linspace = mock.patch("torch.linspace", partial(torch.linspace, device="cpu"))
    with torch.device("cpu" if encoder.embed_dim <= 192 else "meta"), linspace:
        return instantiate(cfg.model)


def shapes(model: torch.nn.Module) -> dict[str, tuple]:
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}
