"""Loading a LazyConfig and overriding its values with `key=value`, strictly."""

import difflib
import inspect
import logging
import traceback
from collections.abc import Collection, Iterator, Sequence
from dataclasses import is_dataclass
from typing import Any

from detectron2.config import LazyConfig, instantiate
from detectron2.utils.file_io import PathManager
from detectron2.utils.registry import locate
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from imted import model_zoo
from imted.config.saved import read_config
from imted.config.settings import complete_train
from imted.errors import UserError, first_line

logger = logging.getLogger(__name__)

REQUIRED = ("model", "dataloader", "optimizer", "lr_multiplier", "train")
_UNKNOWN = object()  # the present value of something that can't be known


def load_config(
    path: str, overrides: Sequence[str] = (), allow: Collection[str] = ()
) -> DictConfig:
    """Load a config file, complete its `train` and override values.

    Values of a group `{a:1}` are set one by one; one with a `_target_` takes the group's place.
    A key must exist in the config, or be an argument of the function or class that its parent
    calls; its new value must be of the type of the present one. An int may stand for a float;
    anything may replace None, and text an empty string.

    Args:
        path: A LazyConfig (.py), which is run, or the config.yaml of a run, which is data; one that
            comes with this project is found from any folder.
        overrides: `key=value` with values in Hydra's grammar. Where the config holds text, what
            Hydra can't read is taken literally, so that any path can be written.
        allow: What a config.yaml may name beside `imted.allowed`'s.

    Raises:
        UserError: The file is missing, wrong or incomplete, or an override is.
    """
    cfg = _load(path, allow)
    missing = [key for key in REQUIRED if key not in cfg]
    if missing:
        raise UserError(f"{path} doesn't define {', '.join(missing)}.")
    complete_train(cfg, path)
    override_config(cfg, overrides, path)
    if cfg.train.epochs is not None and any(o.startswith("train.max_iter=") for o in overrides):
        raise UserError(
            f"{path} counts epochs (train.epochs={cfg.train.epochs:g}), so train.max_iter follows "
            "from the data; set train.epochs, or add train.epochs=null and give train.eval_period "
            "and train.checkpointer.period in iterations, too."
        )
    return cfg


def override_config(cfg: DictConfig, overrides: Sequence[str], path: str) -> None:
    """Override values in place, as `load_config` does.

    Args:
        cfg: The config.
        overrides: See `load_config`.
        path: The config's file, for errors.
    """
    for override in overrides:
        key, equals, text = override.partition("=")
        key = key.strip()
        if key.startswith("-"):
            raise UserError(f"{override} is an option, where a key=value is due.")
        if not equals or not key or " " in key:
            raise UserError(f'"{override}" isn\'t an override; write key=value, without spaces.')
        _assign(cfg, key, _parse(key, text, _present(cfg, key, path)), path)


def build(node: Any, name: str, **given: Any) -> Any:
    """Make what a part of a config describes, by Detectron2's ``instantiate``.

    Args:
        node: The part.
        name: What it is in the config, such as "model".
        **given: Arguments that the config doesn't state, or that take the place of what it does.

    Raises:
        UserError: It can't be made as the config says; log.txt has the trace.
    """
    try:
        return instantiate({**node, **given} if given else node)
    except UserError:
        raise
    except Exception as error:  # whatever its parts raise at arguments that don't fit
        logger.debug("%s can't be built:", name, exc_info=True)
        reason = first_line(error)
        raise UserError(
            f"The config's {name} can't be built ({type(error).__name__}: {reason}); correct what "
            "it is given."
        ) from error


def _load(path: str, allow: Collection[str]) -> DictConfig:
    if not path:
        raise UserError("No config given; name one with --config-file.")
    if not PathManager.isfile(path):
        try:
            path = model_zoo.get_config_file(path.removeprefix("configs/"))
        except FileNotFoundError:
            raise UserError(f"The config {path} doesn't exist.") from None
    try:
        yaml = path.endswith((".yaml", ".yml"))
        return read_config(path, allow) if yaml else LazyConfig.load(path)
    except UserError:
        raise
    except Exception as error:  # a config is Python: anything may go wrong in it
        frames = traceback.extract_tb(error.__traceback__)
        lines = [f"{f.filename}, line {f.lineno}" for f in frames if f.name == "<module>"]
        cause = f" ({error.__cause__})" if error.__cause__ else ""  # where a syntax error is
        raise UserError(
            f"{lines[-1] if lines else path}: {type(error).__name__}: {error}{cause}"
        ) from error


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
            OmegaConf.select(cfg, key)
        except OmegaConfBaseException as error:
            raise UserError(f"{key}: {value} doesn't name a value of {path}.") from error


def _parse(key: str, text: str, present: Any) -> Any:
    """Read a value; where the config holds text, take literally what Hydra reads otherwise."""
    # Its grammar takes half a second to import, and a config without overrides has no use for it.
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

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
    return text if isinstance(present, str) and isinstance(value, bool | int | float) else value


def _present(cfg: DictConfig, key: str, path: str) -> Any:
    """Return the present value of a key, or the default of the argument it stands for."""
    node, parts = cfg, key.split(".")
    for i, part in enumerate(parts):
        prefix, last = ".".join(parts[:i]), i + 1 == len(parts)
        if isinstance(node, ListConfig):
            if not part.isdigit() or int(part) >= len(node):
                raise UserError(f"{prefix} in {path} is a list of {len(node)}; it has no {part}.")
            node = node[int(part)]
        elif not isinstance(node, DictConfig):
            raise UserError(f"{key} is not in {path}: {prefix} is {_describe(node)}.")
        elif part in node.keys():  # noqa: SIM118  # `in node` leaves out None and lost references
            if OmegaConf.is_interpolation(node, part) and not last:
                # Setting a part of it would detach the group and lose its other parts.
                here = ".".join(parts[: i + 1])
                raise UserError(f"{here} in {path} refers to another group; set {key} there.")
            node = _get(node, part)
        else:
            arguments = _arguments(node)
            if part not in arguments or not last:
                raise UserError(_unknown_key(cfg, key, prefix, part, [*node, *arguments], path))
            node = arguments[part]
    return node


def _get(node: DictConfig, part: str) -> Any:
    try:
        return node[part]
    except OmegaConfBaseException:  # an interpolation that doesn't resolve, or a missing value
        return _UNKNOWN


def target_of(node: DictConfig) -> Any:
    """Return the function or class that a LazyCall calls; None for a plain group."""
    target = _get(node, "_target_")
    return locate(target) if isinstance(target, str) else target if callable(target) else None


def _arguments(node: DictConfig) -> dict[str, Any]:
    """Return the arguments of the node's `_target_`, with their defaults."""
    target = target_of(node)
    # A class that hands **kwargs on to its base takes the base's arguments as well.
    classes = inspect.getmro(target) if inspect.isclass(target) else ()
    functions = [vars(kind).get("__init__") for kind in classes] or [target]
    arguments: dict[str, Any] = {}
    for function in filter(callable, functions):
        try:
            parameters = inspect.signature(function).parameters.values()
        except ValueError:  # written in C
            break
        for p in parameters:
            if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name != "self":
                arguments.setdefault(p.name, _UNKNOWN if p.default is p.empty else p.default)
        if all(p.kind is not p.VAR_KEYWORD for p in parameters):
            break
    return arguments


def _unknown_key(
    cfg: DictConfig, key: str, prefix: str, part: str, known: list[str], path: str
) -> str:
    """Say that a key is unknown, and which was probably meant."""
    known = [name for name in dict.fromkeys(map(str, known)) if name != "_target_"]
    start = f"{prefix}." if prefix else ""
    near = difflib.get_close_matches(part, known, n=1)
    leaf = key.rpartition(".")[2]
    meant = [f"{start}{name}{key[len(start) + len(part) :]}" for name in near]
    meant += [name for name in _all_keys(cfg) if name.rpartition(".")[2] == leaf]
    if meant:
        return f"{key} is not in {path}; did you mean {meant[0]}?"
    return f"{key} is not in {path}; {prefix or 'it'} has {', '.join(known)}."


def _all_keys(node: Any, prefix: str = "") -> Iterator[str]:
    for name in node:
        yield f"{prefix}{name}"
        child = None if OmegaConf.is_interpolation(node, name) else _get(node, name)
        if isinstance(child, DictConfig):
            yield from _all_keys(child, f"{prefix}{name}.")


def _fits(value: Any, present: Any) -> bool:
    """Tell whether a value is of the type of the present one, by the rules of `load_config`."""
    if isinstance(value, str) and "${" in value:
        return True  # a reference to another value
    if isinstance(present, bool | int | float):
        return type(value) is type(present) or (type(present), type(value)) == (float, int)
    if value is None or present is None or present == "":
        return True
    if isinstance(present, ListConfig | list | tuple):  # each item fits one of the present ones
        return isinstance(value, list) and (
            not present or all(any(_fits(v, p) for p in present) for v in value)
        )
    if isinstance(present, DictConfig):
        return isinstance(value, (dict, *_computes(present)))
    return isinstance(value, str) if isinstance(present, str) else not callable(present)


def _is_optional(cfg: DictConfig, key: str) -> bool:
    """Tell whether `imted.config.settings.TrainSettings` lets a key be null."""
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(cfg, parent)
    typed = isinstance(node, DictConfig) and is_dataclass(OmegaConf.get_type(node))
    return typed and node._get_node(name)._is_optional()


def _computes(node: DictConfig) -> tuple[type, ...]:
    """Return the plain type that a LazyCall computes, by its annotation: a value may replace it."""
    kind = getattr(target_of(node), "__annotations__", {}).get("return")
    return (kind,) if kind in (int, float, str) else ()


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
