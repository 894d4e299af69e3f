"""The runs of a sweep: their folders, what is in them, and how far they are."""

import copy
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from imted.atomic import read_json, write_json
from imted.config.compare import FlatConfig, changes, completed, flatten
from imted.config.load import build, load_config
from imted.config.resolve import check_machine
from imted.config.settings import check_settings
from imted.errors import UserError
from imted.extras.sweep.points import Point
from imted.run_folder import FINAL, RESULTS, in_use, read_last, read_metrics
from imted.training.hooks import EVALUATED

RECORD = "point.json"
"""In the folder of a run: the point that it is, and the config that was composed for it."""


@dataclass(frozen=True)
class PlannedRun:
    """A point with its folder, the words of train_net.py's command line and the config, flat."""

    point: Point
    folder: str
    words: tuple[str, ...]
    config: FlatConfig = field(repr=False)
    max_iter: int
    evaluates: bool  # whether it ends with an evaluation

    @property
    def finished(self) -> bool:
        """Whether the folder holds the whole run."""
        return read_last(self.folder) == FINAL and (
            not self.evaluates or self.max_iter in evaluated_iterations(self.folder)
        )

    @property
    def running(self) -> bool:
        """Whether a process is at it, whoever has started it."""
        return in_use(self.folder)

    @property
    def done_iterations(self) -> int:
        """Iterations that its metrics know of."""
        records = read_metrics(self.folder)
        return min(1 + max((r.get("iteration", 0) for r in records), default=-1), self.max_iter)


def plan(
    config_file: str, points: Sequence[Point], output: str, num_gpus: int = 1, here: bool = True
) -> list[PlannedRun]:
    """Compose and check every point's config, and find the folder that holds its run.

    A run is known by its config: one whose folder was renamed is found, and a folder that holds
    another config's run is refused. It has the longest name that a sweep has given it, which
    tells it from the most others.

    Args:
        config_file: See `imted.config.load.load_config`.
        points: What is to run.
        output: The folder of the sweep.
        num_gpus: For each run.
        here: Whether the runs are to happen on this machine, whose devices are then checked.

    Raises:
        UserError: A config is wrong, two points are the same run, or a folder is taken.
    """
    found = {
        str(path.parent): read_record(path.parent)
        for path in sorted(Path(output).glob(f"*/{RECORD}"))
    }
    known = {folder: record for folder, record in found.items() if record is not None}
    runs: dict[str, PlannedRun] = {}
    for point in points:
        try:
            run = _plan(config_file, point, output, num_gpus, here, known)
        except UserError as error:
            raise UserError(f"Point {point.name}: {error}") from error
        key = json.dumps(run.config, sort_keys=True)
        if key in runs:
            raise UserError(
                f"Points {runs[key].point.name} and {point.name} are the same run; leave one out."
            )
        runs[key] = run
    return list(runs.values())


def evaluated_iterations(folder: str) -> list[int]:
    """Return the iterations after which a run was evaluated; the last one's are its results."""
    if not Path(folder, RESULTS).is_file():
        return []
    return [r["iteration"] for r in read_metrics(folder) if EVALUATED in r and "iteration" in r]


def write_record(run: PlannedRun, number: int) -> None:
    """Say in the folder of a run which point it is, and its number in the sweep."""
    content = {
        "number": number,
        **asdict(run.point),
        "max_iter": run.max_iter,
        "config": run.config,
    }
    write_json(content, os.path.join(run.folder, RECORD), indent=1)


def read_record(folder: str | Path) -> dict[str, Any] | None:
    """Read what `write_record` has written; None where there is nothing."""
    path = Path(folder, RECORD)
    if not path.is_file():
        return None
    try:
        record = read_json(path)
        if not {"number", "name", "group", "max_iter", "config"} <= record.keys():
            return None
        return {**record, "config": completed(record["config"])}
    except (OSError, UserError, AttributeError, TypeError) as error:
        raise UserError(f"{path} can't be read ({error}); remove it with its run.") from None


def _plan(
    config_file: str,
    point: Point,
    output: str,
    num_gpus: int,
    here: bool,
    known: dict[str, dict[str, Any]],
) -> PlannedRun:
    if any(override.startswith("train.output_dir=") for override in point.overrides):
        raise UserError("train.output_dir is the sweep's to choose; give --output.")
    cfg = load_config(config_file, point.overrides)
    (check_machine if here else check_settings)(cfg)
    _check_length(cfg)
    _check_model(cfg)
    config = flatten(cfg)
    folder = next((path for path, other in known.items() if other["config"] == config), None)
    if folder is None:
        folder = os.path.join(output, point.name)
        _check_free(folder, config, known)
    elif len(known[folder]["name"]) > len(point.name):
        point = replace(point, name=known[folder]["name"], group=known[folder]["group"])
    words = ["--config-file", config_file, *point.overrides, f"train.output_dir={folder}"]
    if num_gpus > 1:
        words[:0] = ["--num-gpus", str(num_gpus)]
    evaluates = all(cfg.dataloader.get(key) is not None for key in ("test", "evaluator"))
    return PlannedRun(point, folder, tuple(words), config, cfg.train.max_iter, evaluates)


def _check_length(cfg: DictConfig) -> None:
    """Refuse runs whose length isn't known beforehand: what is compared has the same."""
    if cfg.train.epochs is not None:
        raise UserError(
            f"train.epochs is {cfg.train.epochs:g}, and a sweep counts iterations; "
            "set train.epochs=null and train.max_iter."
        )
    if cfg.train.early_stop.patience is not None:
        raise UserError(
            "train.early_stop.patience ends runs at different times, and a sweep compares "
            "runs of one length; set it to null."
        )


def _check_model(cfg: DictConfig) -> None:
    """Build the model, so that what doesn't fit shows now."""
    model = copy.deepcopy(cfg.model)
    heads = model.get("roi_heads")
    if heads is not None and OmegaConf.is_config(heads.get("num_classes")):
        heads.num_classes = 1  # else the json is read for every point
    build(model, "model")


def _check_free(folder: str, config: FlatConfig, known: dict[str, dict[str, Any]]) -> None:
    if folder in known:
        changed = "; ".join(changes(known[folder]["config"], config)[:3])
        raise UserError(
            f"{folder} holds the run of another config ({changed}); give another "
            "--output, or remove that folder."
        )
    if read_last(folder) or read_metrics(folder):
        raise UserError(
            f"{folder} holds a run that no sweep has started; give another --output, or remove it."
        )
