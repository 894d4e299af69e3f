"""What a sweep runs: points, each some overrides of a config, from a grid, draws and files."""

import glob
import hashlib
import itertools
import math
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from detectron2.config import LazyConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, IntervalSweep, Override, RangeSweep, Transformer
from hydra.errors import HydraException

from imted.errors import UserError, first_line

MAX_POINTS = 10_000
MAX_NAME = 120
"""Characters of a folder's name; longer ones end in a hash."""


@dataclass(frozen=True)
class Point:
    """One run of a sweep.

    Attributes:
        name: The name of its folder.
        group: What it shares with the same run of other seeds, and on other data sets.
        overrides: `key=value`, as train_net.py takes them.
        data: The name of its data set, where the sweep goes over several.
    """

    name: str
    group: str
    overrides: tuple[str, ...]
    data: str = ""


def expand(
    words: Sequence[str],
    named: Mapping[str, Sequence[str]] | None = None,
    samples: int = 0,
    seed: int = 0,
    sets: Mapping[str, Sequence[str]] | None = None,
) -> list[Point]:
    """Return every combination of the values that overrides list, for every named point.

    Args:
        words: `key=value` in the sweep grammar of Hydra's overrides: `a,b`, `choice(a,b)`,
            `range(1,6)`, `glob(folder/*.pth)` over files, `interval(1e-5,1e-3)`, and
            `tag(log,interval(1e-5,1e-3))`. A value that is no sweep is every point's; a seed
            names its folder all the same.
        named: Name -> overrides that make a point; these hold no sweeps.
        samples: How many values to draw for the intervals, together: random search.
        seed: Seeds the draws.
        sets: Name -> overrides that choose a data set, as `named`; all points run on each.

    Raises:
        UserError: A word can't be read, an interval comes without `samples` or the reverse, or
            two points have one name.
    """
    fixed: list[str] = []
    axes: dict[str, list[str]] = {}
    intervals: dict[str, Override] = {}
    for word in words:
        override = _read(word)
        key, _, value = word.partition("=")
        if key in axes or key in intervals:
            raise UserError(f"{key} comes twice; give all of its values in one key=value.")
        if override is not None and override.is_sweep_override():
            if isinstance(override.value(), IntervalSweep):
                intervals[key] = override
            else:
                axes[key] = _values(override, word)
        elif is_seed(key):  # in the folder's name even when it is one: others may come later
            axes[key] = [value]
        else:
            fixed.append(word)
    if bool(intervals) != bool(samples):
        raise UserError(
            "An interval (key=interval(low,high)) and --samples N, how many values to draw from "
            "it, need each other."
        )
    named, sets = named or {"": []}, sets or {"": []}
    _require_few(math.prod(map(len, axes.values())) * max(samples, 1) * len(named) * len(sets))
    generator = np.random.default_rng(seed)
    drawn = [{k: _draw(v, generator) for k, v in intervals.items()} for _ in range(samples)]
    points = [
        _point(data, name, [*fixed, *chosen, *own], dict(zip(axes, choice, strict=True)) | draw)
        for data, chosen in sets.items()
        for name, own in named.items()
        for choice in itertools.product(*axes.values())
        for draw in drawn or [{}]
    ]
    names = [point.name for point in points]
    for name, number in Counter(names).items():
        if number > 1:
            raise UserError(f"Two points of the sweep would share the folder {name!r}.")
    return points


def read_points(path: str) -> dict[str, list[str]]:
    """Read a file of named points: a LazyConfig (.py) with `points = dict(name=[overrides])`.

    Raises:
        UserError: The file is missing, or not of this form.
    """
    return _read_named(path, "points")


def read_sets(path: str) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Read a file of data sets: a LazyConfig (.py) with `sets = dict(name=[overrides])`.

    Returns:
        The sets whose json files are there, and of each of the others, by name, the one that isn't.

    Raises:
        UserError: The file is missing, or not of this form, or no set is there.
    """
    sets = _read_named(path, "sets")
    absent: dict[str, str] = {}
    for name, overrides in sets.items():
        for key, _, file in (override.partition("=") for override in overrides):
            if key in ("dataset.train_json", "dataset.val_json") and not os.path.isfile(file):
                absent.setdefault(name, file)
    present = {name: overrides for name, overrides in sets.items() if name not in absent}
    if not present:
        raise UserError(
            f"{path} (--sets): none of its sets is there; no {', no '.join(absent.values())}."
        )
    return present, absent


def _read_named(path: str, kind: str) -> dict[str, list[str]]:
    """Read the lists of overrides by name that a file has under its option's name."""
    try:
        found = LazyConfig.load(path)[kind]
        named = {str(name): list(overrides) for name, overrides in found.items()}
    except FileNotFoundError:
        raise UserError(f"{path} (--{kind}) doesn't exist; correct the path.") from None
    except Exception as error:  # a config is Python: anything may go wrong in it
        raise UserError(
            f"{path} (--{kind}) doesn't define {kind} = dict(name=['key=value', ...]) "
            f"({type(error).__name__}: {error})."
        ) from error
    for name, override in ((name, o) for name, overrides in named.items() for o in overrides):
        if not isinstance(override, str):
            raise UserError(f"{path}: {name!r} of {kind} has {override!r}; write 'key=value'.")
    if not named:
        raise UserError(f"{path} (--{kind}) names none.")
    return named


def is_seed(key: str) -> bool:
    """Tell whether a key of a config chooses between equal runs, as train.seed does."""
    return key.rpartition(".")[2] == "seed"


def _read(word: str) -> Override | None:
    """Read an override; None for what Hydra can't, which may be text: the config decides."""
    try:
        return OverridesParser.create().parse_override(word)
    except HydraException as error:
        if re.search(r"=\s*(choice|range|interval|glob|tag|sort|shuffle)\(", word):
            reason = first_line(error)
            raise UserError(f"{word} can't be read as a sweep ({reason}).") from None
        return None


def _values(override: Override, word: str) -> list[str]:
    """Return the values of a list, a range or a pattern of files, as they are written."""
    value = override.value()
    if isinstance(value, Glob):
        paths = sorted({p for pattern in value.include for p in glob.glob(pattern)})
        found = [f"'{path}'" for path in value.filter(paths)]
    else:
        if isinstance(value, RangeSweep):
            ends = float(value.stop or 0), float(value.start or 0)
            _require_few((ends[0] - ends[1]) / (float(value.step) or math.nan))
        found = [str(v) for v in override.sweep_iterator(transformer=Transformer.encode)]
    if not found:
        raise UserError(f"{word} has no value; correct it.")
    return found


def _require_few(number: float) -> None:
    if number > MAX_POINTS:
        raise UserError(f"The sweep has {number:.0f} points; at most {MAX_POINTS} are planned.")


def _draw(override: Override, generator: np.random.Generator) -> str:
    """Draw a value of an interval; uniformly, or log-uniformly of one tagged `log`."""
    sweep = override.value()
    assert isinstance(sweep, IntervalSweep)
    low, high = float(sweep.start or 0), float(sweep.end or 0)
    log = "log" in sweep.tags
    if not low < high or (log and low <= 0):
        raise UserError(f"{override.input_line}: the interval must ascend from above 0.")
    if log:
        return f"{math.exp(generator.uniform(math.log(low), math.log(high))):.4g}"
    return f"{generator.uniform(low, high):.4g}"


def _point(data: str, name: str, fixed: Sequence[str], chosen: Mapping[str, str]) -> Point:
    leaves = [key.rpartition(".")[2] for key in chosen]
    labels = {
        key: f"{leaf if leaves.count(leaf) == 1 else key}-{value}"
        for leaf, (key, value) in zip(leaves, chosen.items(), strict=True)
    }
    without_seed = [label for key, label in labels.items() if not is_seed(key)]
    return Point(
        _as_name([data, name, *labels.values()]),
        _as_name([name, *without_seed]),
        (*fixed, *(f"{key}={value}" for key, value in chosen.items())),
        data,
    )


def _as_name(parts: Sequence[str]) -> str:
    """Make a folder's name that needs no quotes in a shell."""
    words = [re.sub(r"[^\w.+-]+", "_", part).strip("_") for part in parts]
    name = "_".join(word for word in words if word) or "run"
    if len(name) <= MAX_NAME:
        return name
    return f"{name[: MAX_NAME - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
