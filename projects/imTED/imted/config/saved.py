"""A run's config.yaml, read as data: nothing in it is run.

Detectron2 reads such a file with yaml's unsafe loader, which calls whatever its tags name. A file
that comes with somebody's weights is data. A config of Python (.py) is a program and stays one.
"""

import sys
from collections.abc import Iterator
from typing import Any

import yaml
from detectron2.layers import ShapeSpec
from detectron2.utils.file_io import PathManager
from detectron2.utils.registry import locate
from omegaconf import DictConfig, OmegaConf

from imted.errors import UserError, first_line

_PYTHON = "tag:yaml.org,2002:python/"


class _Loader(yaml.SafeLoader):
    """Plain values, tuples, and the names of classes and functions."""


def _named(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> Any:
    """Return the class or function that a config names."""
    if is_of_python(suffix):
        raise yaml.constructor.ConstructorError(problem=f"it names {suffix}, a part of Python")
    return locate(suffix)


def _tuple(loader: yaml.SafeLoader, node: Any) -> tuple:
    return tuple(loader.construct_sequence(node, deep=True))


def _settings(loader: yaml.SafeLoader, suffix: str, node: Any) -> dict:
    """Read the settings of `train` as earlier versions of this project have saved them."""
    return loader.construct_mapping(node, deep=True)


def _shape(loader: yaml.SafeLoader, node: Any) -> ShapeSpec:
    """Read what Detectron2's own configs state the channels and strides of features with."""
    return ShapeSpec(**loader.construct_mapping(node))


_SHAPE = f"{ShapeSpec.__module__}.{ShapeSpec.__qualname__}"
_Loader.add_multi_constructor(f"{_PYTHON}name:", _named)
_Loader.add_constructor(f"{_PYTHON}object:{_SHAPE}", _shape)
_Loader.add_multi_constructor(f"{_PYTHON}object:imted.config.settings.", _settings)
_Loader.add_constructor(f"{_PYTHON}tuple", _tuple)


def read_yaml(path: str) -> DictConfig:
    """Read a config.yaml.

    Raises:
        UserError: It is no yaml, or names something to be run that no config needs: a tag of
            yaml's that makes objects, or a part of Python itself as a `_target_`.
    """
    try:
        with PathManager.open(path) as file:
            content = yaml.load(file, Loader=_Loader)  # a SafeLoader
    except (yaml.YAMLError, ImportError, ValueError, RecursionError) as error:
        reason = getattr(error, "problem", None) or first_line(error)
        raise UserError(f"{path} can't be read as a config, which is data: {reason}.") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no config: it is no group of settings.")
    for target in _targets(content):
        if is_of_python(target):
            raise UserError(
                f"{path} names {target}, a part of Python, as a _target_, which is refused in a "
                "yaml file: it is data. Write the config as a .py file if you trust it."
            )
    return OmegaConf.create(content, flags={"allow_objects": True})


def is_of_python(name: str) -> bool:
    """Tell whether a name is of Python's own library, or no full name at all."""
    return name.partition(".")[0] in {*sys.stdlib_module_names, "builtins", ""}


def _targets(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("_target_"), str):
            yield node["_target_"]
        node = list(node.values())
    if isinstance(node, list | tuple):
        for item in node:
            yield from _targets(item)
