"""What a run is: the values of its config by their full keys, to tell two runs apart."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from imted.config.saved import read_values
from imted.config.settings import TrainSettings
from imted.run_folder import CONFIG

FlatConfig = dict[str, Any]
_NOT_ITS_OWN = ("train.output_dir", "train.overwrite", "train.device")
"""Keys that say where a run happens, not what it is."""


def flatten(cfg: DictConfig) -> FlatConfig:
    """Return the values of a config, but for those that say where the run happens."""
    groups: Any = OmegaConf.to_container(cfg, resolve=False)
    # Through json, so that it equals what is read from a file.
    return json.loads(json.dumps(dict(_leaves(groups)), default=_name_of, sort_keys=True))


def read_flat(folder: str | Path) -> FlatConfig:
    """Return the config.yaml of a run's folder, flat; {} where there is none.

    Raises:
        UserError: It is no config.
    """
    path = Path(folder, CONFIG)
    return completed(flatten(read_values(str(path)))) if path.is_file() else {}


def completed(config: FlatConfig) -> FlatConfig:
    """Add the defaults of settings that an earlier version, which has written this, did not know.

    So an upgrade that adds a setting leaves the runs what they were.
    """
    return _defaults() | config


def changes(there: FlatConfig, now: FlatConfig) -> list[str]:
    """List what differs in two configs: "optimizer.lr=0.1 there, 0.2 now"."""
    return [
        f"{key}={there.get(key)} there, {now.get(key)} now"
        for key in sorted(there.keys() | now.keys())
        if there.get(key) != now.get(key)
    ]


@cache
def _defaults() -> FlatConfig:
    return flatten(OmegaConf.create({"train": OmegaConf.structured(TrainSettings)}))


def _leaves(group: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of a config by their full keys."""
    for key, value in group.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{name}.")
        elif name not in _NOT_ITS_OWN:
            yield name, value


def _name_of(value: Any) -> str:
    """Name a function or class that a config refers to."""
    name = getattr(value, "__qualname__", None)
    return f"{value.__module__}.{name}" if name else repr(value)
