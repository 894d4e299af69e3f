"""Loading a LazyConfig and overriding its values with `key=value`, strictly."""

import difflib
import inspect
import logging
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import is_dataclass
from typing import Any

from detectron2.config import LazyConfig, instantiate
from detectron2.utils.file_io import PathManager
from detectron2.utils.registry import locate
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from imted import model_zoo
from imted.config.epochs import check_epochs
from imted.config.saved import read_yaml
from imted.config.settings import complete_train
from imted.errors import UserError, first_line

logger = logging.getLogger(__name__)

REQUIRED = ("model", "dataloader", "optimizer", "lr_multiplier", "train")
_UNKNOWN = object()  # the present value of something that can't be known


def load_config(path: str, overrides: Sequence[str] = ()) -> DictConfig:
    """Load a config file, complete its `train` and override values.

    Values of a group `{a:1}` are set one by one; one with a `_target_` takes the group's place.
    A key must exist in the config, or be an argument of the function or class that its parent
    calls; its new value must be of the type of the present one. An int may stand for a float;
    anything may replace None, and text an empty string.

    Args:
        path: A LazyConfig (.py, or the config.yaml saved by a run); one that comes with this
            project is found from any folder.
        overrides: `key=value` with values in Hydra's grammar. Where the config holds text, what
            Hydra can't read is taken literally, so that any path can be written.

    Raises:
        UserError: The file is missing, wrong or incomplete, or an override is.
    """
    cfg = _load(path)
    missing = [key for key in REQUIRED if key not in cfg]
    if missing:
        raise UserError(f"{path} doesn't define {', '.join(missing)}.")
    complete_train(cfg, path)
    override_config(cfg, overrides, path)
    check_epochs(cfg, overrides, path)
    return cfg


def override_config(cfg: DictConfig, overrides: Sequence[str], path: str) -> None:
    """Override values in place, as `load_config` does.

    Args:
        cfg: The config.
        overrides: See `load_config`.
        path: The config's file, for errors.
    """
    for override in overrides:
        _override(cfg, override, path)


def build(node: Any, name: str) -> Any:
    """Make what a part of a config describes, by Detectron2's ``instantiate``.

    Args:
        node: The part.
        name: What it is in the config, such as "model".

    Raises:
        UserError: It can't be made as the config says; log.txt has the trace.
    """
    try:
        return instantiate(node)
    except UserError:
        raise
    except Exception as error:  # whatever its parts raise at arguments that don't fit
        logger.debug("%s can't be built:", name, exc_info=True)
        reason = first_line(error)
        raise UserError(
            f"The config's {name} can't be built ({type(error).__name__}: {reason}); correct what "
            "it is given."
        ) from error


def _load(path: str) -> DictConfig:
    if not path:
        raise UserError("No config given; name one with --config-file.")
    if not PathManager.isfile(path):
        try:
            path = model_zoo.get_config_file(path.removeprefix("configs/"))
        except FileNotFoundError:
            raise UserError(f"The config {path} doesn't exist.") from None
    try:
        return read_yaml(path) if path.endswith((".yaml", ".yml")) else LazyConfig.load(path)
    except UserError:
        raise
    except Exception as error:  # a config is Python: anything may go wrong in it
        frames = traceback.extract_tb(error.__traceback__)
        lines = [f"{f.filename}, line {f.lineno}" for f in frames if f.name == "<module>"]
        cause = f" ({error.__cause__})" if error.__cause__ else ""  # where a syntax error is
        raise UserError(
            f"{lines[-1] if lines else path}: {type(error).__name__}: {error}{cause}"
        ) from error


def _override(cfg: DictConfig, override: str, path: str) -> None:
    key, equals, text = override.partition("=")
    key = key.strip()
    if key.startswith("-"):
        raise UserError(f"{override} is an option; options come before all key=value.")
    if not equals or not key or " " in key:
        raise UserError(f'"{override}" isn\'t an override; write key=value, without spaces.')
    _assign(cfg, key, _parse(key, text, _present(cfg, key, path)), path)


def _assign(cfg: DictConfig, key: str, value: Any, path: str) -> None:
    """Set a value, or those of a group, where they fit the present ones."""
    present = _present(cfg, key, path)
    other_call = isinstance(value, dict) and "_target_" in value  # it takes the group's place
    if isinstance(value, dict) and isinstance(present, DictConfig) and not other_call:
        for name, item in value.items():
            _assign(cfg, f"{key}.{name}", item, path)
        return
    fits = _fits(value, present) or (value is None and _is_optional(cfg, key))
    if not fits and not key.endswith("_target_"):
        raise UserError(f"{key} must be {_describe(present)}, not {_describe(value)} ({value!r}).")
    if isinstance(present, float) and isinstance(value, int):
        value = float(value)  # so that the next override still finds a float
    try:
        OmegaConf.update(cfg, key, value, merge=not other_call)
    except OmegaConfBaseException as error:  # of a key whose type is stated
        raise UserError(f"{key}={value}: {first_line(error)}.") from error
    if isinstance(value, str) and "${" in value:
        try:
            OmegaConf.select(cfg, key, throw_on_resolution_failure=True)
        except OmegaConfBaseException as error:
            raise UserError(f"{key}: {value} doesn't name a value of {path}.") from error


def _parse(key: str, text: str, present: Any) -> Any:
    """Read a value; where the config holds text, take literally what Hydra reads otherwise."""
    try:
        parsed = OverridesParser.create().parse_override(f"value={text}")
        if parsed.is_sweep_override():
            raise HydraException("it is a list without brackets")
        value = parsed.value()
    except HydraException as error:
        if isinstance(present, str):
            return text
        reason = first_line(error)
        raise UserError(f'{key}: can\'t read the value "{text}" ({reason}).') from error
    if isinstance(present, str) and isinstance(value, bool | int | float):
        return text
    return value


def _present(cfg: DictConfig, key: str, path: str) -> Any:
    """Return the present value of a key, or the default of the argument it stands for."""
    node, parts = cfg, key.split(".")
    for i, part in enumerate(parts):
        prefix = ".".join(parts[:i])
        if isinstance(node, ListConfig):
            if not part.isdigit() or int(part) >= len(node):
                raise UserError(f"{prefix} in {path} is a list of {len(node)}; it has no {part}.")
            node = node[int(part)]
        elif isinstance(node, DictConfig) and part in _keys(node):
            if OmegaConf.is_interpolation(node, part) and i + 1 < len(parts):
                # Setting a part of it would detach the group and lose its other parts.
                here = ".".join(parts[: i + 1])
                raise UserError(f"{here} in {path} refers to another group; set {key} there.")
            node = _get(node, part)
        elif isinstance(node, DictConfig):
            arguments = _arguments(node)
            if part not in arguments or i + 1 < len(parts):
                raise UserError(_unknown_key(cfg, key, prefix, part, node, path))
            node = arguments[part]
        else:
            raise UserError(f"{key} is not in {path}: {prefix} is {_describe(node)}.")
    return node


def _keys(node: DictConfig) -> list[str]:
    return [str(key) for key in node]


def _get(node: DictConfig, part: str) -> Any:
    try:
        return node[part]
    except OmegaConfBaseException:  # an interpolation that doesn't resolve, or a missing value
        return _UNKNOWN


def target_of(node: DictConfig) -> Any:
    """Return the function or class that a LazyCall calls; None for a plain group."""
    target = _get(node, "_target_") if "_target_" in _keys(node) else None
    return locate(target) if isinstance(target, str) else target


def _arguments(node: DictConfig) -> dict[str, Any]:
    """Return the arguments of the node's `_target_`, with their defaults."""
    target = target_of(node)
    # A class that hands **kwargs on to its base takes the base's arguments as well.
    functions = (
        [getattr(c, "__init__") for c in inspect.getmro(target)]  # noqa: B009
        if inspect.isclass(target)
        else [target]
    )
    arguments: dict[str, Any] = {}
    for function in filter(callable, functions):
        try:
            parameters = inspect.signature(function).parameters.values()
        except ValueError:  # written in C
            break
        for p in parameters:
            if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name != "self":
                default = _UNKNOWN if p.default is p.empty else p.default
                arguments.setdefault(p.name, default)
        if all(p.kind is not p.VAR_KEYWORD for p in parameters):
            break
    return arguments


def _unknown_key(
    cfg: DictConfig, key: str, prefix: str, part: str, node: DictConfig, path: str
) -> str:
    """Say that a key is unknown, and which was probably meant."""
    known = [k for k in [*_keys(node), *_arguments(node)] if k != "_target_"]
    near = difflib.get_close_matches(part, known, n=1)
    start = f"{prefix}." if prefix else ""
    if near:
        rest = key[len(start) + len(part) :]
        return f"{key} is not in {path}; did you mean {start}{near[0]}{rest}?"
    leaf = key.rpartition(".")[2]
    elsewhere = [k for k in _all_keys(cfg) if k.rpartition(".")[2] == leaf]
    if elsewhere:
        return f"{key} is not in {path}; did you mean {elsewhere[0]}?"
    return f"{key} is not in {path}; {prefix or 'it'} has {', '.join(dict.fromkeys(known))}."


def _all_keys(node: DictConfig, prefix: str = "") -> Iterator[str]:
    for name in _keys(node):
        yield f"{prefix}{name}"
        child = None if OmegaConf.is_interpolation(node, name) else _get(node, name)
        if isinstance(child, DictConfig):
            yield from _all_keys(child, f"{prefix}{name}.")


def _fits(value: Any, present: Any) -> bool:
    if isinstance(value, str) and "${" in value:
        return True  # a reference to another value
    if isinstance(present, bool):
        return isinstance(value, bool)
    if isinstance(present, int):
        return isinstance(value, int) and not isinstance(value, bool)
    if isinstance(present, float):
        return isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(present, str):
        return value is None or isinstance(value, str) or present == ""
    if isinstance(present, ListConfig | list | tuple):
        return value is None or (isinstance(value, list) and _items_fit(value, list(present)))
    if isinstance(present, DictConfig):
        return value is None or isinstance(value, (dict, *_computes(present)))
    return value is None or not callable(present)  # None, an unknown value, some object


def _is_optional(cfg: DictConfig, key: str) -> bool:
    """Tell whether `imted.config.settings.TrainSettings` lets a key be null."""
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(cfg, parent)
    settings = OmegaConf.get_type(node) if isinstance(node, DictConfig) else None
    return is_dataclass(settings) and node._get_node(name)._is_optional()


def _computes(node: DictConfig) -> tuple[type, ...]:
    """Return the plain type that a LazyCall computes, by its annotation: a value may replace it."""
    kind = getattr(target_of(node), "__annotations__", {}).get("return")
    return (kind,) if kind in (int, float, str) else ()


def _items_fit(value: list, present: list) -> bool:
    """Tell whether each new item fits at least one of the present ones."""
    return not present or all(any(_fits(v, p) for p in present) for v in value)


def _describe(value: Any) -> str:
    if isinstance(value, DictConfig) and (kinds := _computes(value)):
        return _describe(kinds[0]())
    if isinstance(value, DictConfig | dict):
        return "a group of settings"
    if isinstance(value, ListConfig | list | tuple):
        names = sorted({type(item).__name__ for item in value})
        return f"a list of {' or '.join(names)}" if names else "a list"
    words = {bool: "true or false", int: "an int", float: "a float", str: "text"}
    if callable(value):
        return "a function or class (change it in the config file)"
    return "None" if value is None else words.get(type(value), type(value).__name__)
