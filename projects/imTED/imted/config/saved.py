"""A run's config.yaml: written as what has run, and read as data, of which nothing is run.

Detectron2 reads such a file with yaml's unsafe loader, which calls whatever its tags name. A file
that comes with somebody's weights is data. A config of Python (.py) is a program and stays one.
"""

import copy
from collections.abc import Collection
from typing import Any

import yaml
from detectron2.config import LazyConfig
from detectron2.layers import ShapeSpec
from detectron2.utils.file_io import PathManager
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from imted import allowed
from imted.atomic import replacing
from imted.errors import UserError, first_line

_PYTHON = "tag:yaml.org,2002:python/"


class _Loader(yaml.SafeLoader):
    """Plain values, tuples, shapes, and names of classes and functions, which stay names."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Leave merge keys alone, which no config has and of which few lines make millions."""


def _partial(loader: yaml.SafeLoader, node: Any) -> allowed.Partial:
    function, args, keywords, _ = loader.construct_mapping(node, deep=True)["state"]
    if not isinstance(function, allowed.Name):
        raise ValueError("a functools.partial names no function")
    return allowed.Partial(function, tuple(args), dict(keywords))


_Loader.add_multi_constructor(f"{_PYTHON}name:", lambda loader, name, node: allowed.Name(name))
_Loader.add_constructor(f"{_PYTHON}object/apply:functools.partial", _partial)
_Loader.add_constructor(  # of features, in Detectron2's own configs
    f"{_PYTHON}object:{ShapeSpec.__module__}.{ShapeSpec.__qualname__}",
    lambda loader, node: ShapeSpec(**loader.construct_mapping(node)),
)
for _settings in ("imted.config.settings.", "imted.engine.settings."):  # of earlier versions
    _Loader.add_multi_constructor(
        f"{_PYTHON}object:{_settings}",
        lambda loader, name, node: loader.construct_mapping(node, deep=True),
    )
_Loader.add_constructor(
    f"{_PYTHON}tuple", lambda loader, node: tuple(loader.construct_sequence(node, deep=True))
)


def read_config(path: str, allow: Collection[str] = ()) -> DictConfig:
    """Read a config.yaml to run what it describes.

    Args:
        path: The file.
        allow: What it may name beside `imted.allowed`'s.

    Raises:
        UserError: It is no config, or names what isn't allowed.
    """
    return _config(allowed.checked(_parse(path), path, allow), path)


def read_values(path: str) -> DictConfig:
    """Read a config.yaml to look at its values: what it names stays text, and isn't looked up.

    Raises:
        UserError: It is no config.
    """
    return _config(_parse(path), path)


def write_config(cfg: DictConfig, path: str) -> None:
    """Write a config as a config.yaml, which is plain data.

    Raises:
        UserError: It can't be written.
    """
    plain = copy.deepcopy(cfg)
    OmegaConf.set_readonly(plain, False)
    plain.train = OmegaConf.to_container(cfg.train)  # without the class that states its types
    with replacing(path) as partial:
        LazyConfig.save(plain, partial)


def _parse(path: str) -> dict:
    with PathManager.open(path) as file:
        try:
            content = yaml.load(file, Loader=_Loader)  # a SafeLoader
        except Exception as error:  # whatever its constructors raise at a text that isn't theirs
            reason = getattr(error, "problem", None) or first_line(error)
            raise _unreadable(path, reason) from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no config: it is no group of settings.")
    allowed.refuse_many(content, path)
    return content


def _config(content: dict, path: str) -> DictConfig:
    try:
        return OmegaConf.create(content, flags={"allow_objects": True})
    except (OmegaConfBaseException, RecursionError) as error:
        raise _unreadable(path, first_line(error)) from error


def _unreadable(path: str, reason: str) -> UserError:
    return UserError(f"{path} can't be read as a config, which is data: {reason}.")
