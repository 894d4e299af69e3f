"""What the runs of a sweep have reached: tables over seeds, differences to a baseline, plots."""

import csv
import json
import math
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from imted.atomic import read_json, replacing, write_text
from imted.config.compare import read_flat
from imted.errors import UserError
from imted.extras.sweep.plots import save_curves, save_metrics
from imted.extras.sweep.points import is_seed
from imted.extras.sweep.runs import RESULTS, evaluated_iterations, read_record
from imted.extras.sweep.statistics import Difference, holm, mean_interval, paired_difference
from imted.run_folder import read_metrics
from imted.training.hooks import EVALUATED

_SEED = re.compile(r"[_-]?seed[_=-]?\d+", re.IGNORECASE)
_COSTS = {"time": "s/iteration", "images_per_second": "images/s", "max_mem": "memory, MB"}


@dataclass(frozen=True)
class RunResults:
    """A run that has been evaluated, as its folder tells.

    Attributes:
        folder: Its path.
        name: The experiment's name, which it shares with other seeds.
        experiment: What makes it one of that experiment: its config but for the seed.
        seed: Its seed, which tells it from the others.
        metrics: By "task/name"; None stands for one without any object.
        costs: Medians over the training of what `_COSTS` names.
        curve: "task/name" -> iterations and values of the evaluations.
        number: Its place in the sweep.
        unfinished: How far it is, where it isn't finished.
    """

    folder: str
    name: str
    experiment: str
    seed: str
    metrics: dict[str, float | None]
    costs: dict[str, float]
    curve: dict[str, list[tuple[int, float]]]
    number: int
    unfinished: str


Experiments = dict[str, list[RunResults]]
"""Runs by their experiment's name, in the order of the folders."""


def report(
    folders: Sequence[str], output: str, baseline: str | None, wanted: Sequence[str] | None
) -> str:
    """Write report.md, runs.csv and plots about all runs in folders that have results.

    Args:
        folders: Folders of runs, or of sweeps, which hold folders of runs.
        output: Where to write.
        baseline: The name of the experiment that others are compared with; None for the first.
        wanted: Names of metrics, such as AP or bbox/AP; None for all but those of single classes.

    Returns:
        The report.

    Raises:
        UserError: No run has results, or the baseline or a metric isn't there.
    """
    found = sorted(map(read_run, find_runs(folders)), key=lambda run: run.number)
    runs = [run for run in found if not run.unfinished]
    if not runs:
        raise UserError(f"No run in {' '.join(folders)} is finished and evaluated yet.")
    experiments = group(runs)
    names = _metrics(runs, wanted)
    if baseline is None:
        baseline = next(iter(experiments))
    if baseline not in experiments:
        raise UserError(f"--baseline {baseline!r} is none of {', '.join(experiments)}.")
    parts = ["# Sweep", _table(experiments, names)]
    if len(experiments) > 1:
        parts.append(_comparison(experiments, names, baseline))
    parts.append(_cost_table(experiments))
    parts.extend(f"Not counted: {run.folder}, {run.unfinished}." for run in found if run.unfinished)
    os.makedirs(output, exist_ok=True)
    with replacing(os.path.join(output, "runs.csv")) as partial:
        _write_csv(runs, partial)
    values = {name: _values(own, names[0]) for name, own in experiments.items()}
    save_metrics(values, names[0], os.path.join(output, "metrics.png"))
    parts.append(f"![{names[0]}, each run and the mean](metrics.png)")
    curves = {
        name: [run.curve.get(names[0], []) for run in own] for name, own in experiments.items()
    }
    if any(len(curve) > 1 for own in curves.values() for curve in own):
        save_curves(curves, names[0], os.path.join(output, "curves.png"))
        parts.append(f"![{names[0]} against iterations](curves.png)")
    text = "\n\n".join(part for part in parts if part) + "\n"
    write_text(text, os.path.join(output, "report.md"))
    return text


def find_runs(folders: Sequence[str]) -> list[Path]:
    """Return the folders of runs with results: those named, and those within them."""
    found: dict[Path, Path] = {}
    for folder in folders:
        path = Path(folder)
        if not path.is_dir():
            raise UserError(f"{folder} (--report) is no folder; name one of a sweep or a run.")
        results = [path / RESULTS, *sorted(path.glob(f"*/{RESULTS}"), key=_natural)]
        found.update({r.parent.resolve(): r.parent for r in results if r.is_file()})
    return list(found.values())


def read_run(folder: Path) -> RunResults:
    """Read the folder of a run.

    Raises:
        UserError: Its results can't be read.
    """
    record = read_record(folder)
    config = record["config"] if record else read_flat(folder)
    name = record["group"] if record else _SEED.sub("", str(folder.resolve()))
    end = record["max_iter"] if record else config.get("train.max_iter")
    end = end if isinstance(end, int) else math.inf  # it may be a reference that isn't resolved
    plain = {key: _SEED.sub("", str(value)) for key, value in config.items() if not is_seed(key)}
    records = [r for r in read_metrics(str(folder)) if isinstance(r, dict)]
    costs = {key: [r[key] for r in records if key in r] for key in _COSTS}
    curve: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for r in records:
        for key, value in r.items():
            if EVALUATED in r and "/" in key and isinstance(value, int | float):
                # Counted from 0, but for the evaluation at the end.
                curve[key].append((min(r["iteration"] + 1, end), value))
    return RunResults(
        folder=str(folder),
        name=name,
        experiment=json.dumps([plain, name if not config else ""], sort_keys=True),
        seed=_seed_of(folder, config),
        metrics=_read_metrics(folder),
        costs={key: float(np.median(values)) for key, values in costs.items() if values},
        curve=dict(curve),
        number=record["number"] if record else 0,
        unfinished=_unfinished(folder, end),
    )


def _unfinished(folder: Path, end: float) -> str:
    """Say how far a run is that hasn't been evaluated after its last iteration."""
    evaluated = evaluated_iterations(str(folder))
    if (
        not evaluated or end == math.inf or max(evaluated) >= end
    ):  # results alone are taken as they are
        return ""
    return f"evaluated after {max(evaluated) + 1} of {end} iterations"


def group(runs: Iterable[RunResults]) -> Experiments:
    """Put the seeds of an experiment together; two of one name get their folders' as well."""
    by_config = defaultdict(list)
    for run in runs:
        by_config[run.experiment].append(run)
    short = {key: Path(own[0].name).name for key, own in by_config.items()}
    names = list(short.values())
    return {
        (name if names.count(name) == 1 else f"{name} ({_SEED.sub('', own[0].folder)})"): own
        for name, own in zip(names, by_config.values(), strict=True)
    }


def _seed_of(folder: Path, config: Mapping[str, Any]) -> str:
    """Return what tells a run from the others of its experiment: the seed in its folder's name."""
    words = _SEED.findall(str(folder.resolve()))
    return re.sub(r"\D", "", words[-1]) if words else str(config.get("train.seed", 0))


def _read_metrics(folder: Path) -> dict[str, float | None]:
    path = folder / RESULTS
    try:
        content = read_json(path)
        values = {f"{t}/{m}": v for t, metrics in content.items() for m, v in metrics.items()}
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}; correct the path.") from None
    except (ValueError, AttributeError):
        values = {"": ""}
    if not all(v is None or isinstance(v, int | float) for v in values.values()):
        raise UserError(f"{path} is not a results.json of this project; name a run's own.")
    return values


def _metrics(runs: Sequence[RunResults], wanted: Sequence[str] | None) -> list[str]:
    """Return the metrics to show, those that any run has measured."""
    known = dict.fromkeys(
        key for run in runs for key, value in run.metrics.items() if value is not None
    )
    if wanted is None:
        return [key for key in known if "/AP-" not in key]
    for name in wanted:
        if name not in known and not any(key.endswith(f"/{name}") for key in known):
            raise UserError(
                f"--metrics: no run has measured {name!r}; there are "
                f"{', '.join(sorted({key.partition('/')[2] for key in known}))}."
            )
    return [key for name in wanted for key in known if key == name or key.endswith(f"/{name}")]


def _values(runs: Iterable[RunResults], metric: str) -> dict[str, float]:
    """Return a metric by seed, of the runs that have it."""
    found = {run.seed: run.metrics.get(metric) for run in runs}
    return {seed: value for seed, value in found.items() if value is not None}


def _table(experiments: Experiments, metrics: Sequence[str]) -> str:
    rows = [
        [name, len(runs), *(_cell(list(_values(runs, m).values()), len(runs)) for m in metrics)]
        for name, runs in experiments.items()
    ]
    note = "Mean over seeds, with its 95 % confidence interval (Student's t)."
    return f"{note}\n\n{_markdown(rows, ['', 'runs', *metrics])}"


def _cell(values: list[float], runs: int) -> str:
    if not values:
        return ""
    mean, half = mean_interval(values)
    text = f"{mean:.2f}" if math.isnan(half) else f"{mean:.2f} ± {half:.2f}"
    return text if len(values) == runs else f"{text} ({len(values)} of {runs})"


def _comparison(experiments: Experiments, metrics: Sequence[str], baseline: str) -> str:
    """Compare every experiment with the baseline, by the seeds that both have."""
    others = [name for name in experiments if name != baseline]
    sections = []
    for metric in metrics:
        base = _values(experiments[baseline], metric)
        rows: dict[str, Difference] = {}
        for name in others:
            own = _values(experiments[name], metric)
            seeds = [seed for seed in own if seed in base]
            if seeds:
                rows[name] = paired_difference(
                    [own[seed] for seed in seeds], [base[seed] for seed in seeds]
                )
        corrected = holm([row.p for row in rows.values()])
        cells = [
            [name, row.pairs, _signed(row), _p(row.p), _p(p)]
            for (name, row), p in zip(rows.items(), corrected, strict=True)
        ]
        if cells:
            headers = [metric, "pairs", f"minus {baseline}", "p", "p, Holm"]
            sections.append(_markdown(cells, headers))
    if not sections:
        return ""
    note = (
        f"Differences to `{baseline}`, run by run of the same seed; p by the two-sided paired "
        "t-test, then with Holm's correction over the rows of a table."
    )
    return "\n\n".join([note, *sections])


def _signed(row: Difference) -> str:
    half = "" if math.isnan(row.half_width) else f" ± {row.half_width:.2f}"
    return f"{row.mean:+.2f}{half}"


def _p(value: float) -> str:
    if math.isnan(value):
        return ""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _cost_table(experiments: Experiments) -> str:
    rows = []
    for name, runs in experiments.items():
        costs = [[run.costs[key] for run in runs if key in run.costs] for key in _COSTS]
        rows.append([name, *(f"{np.median(values):.4g}" if values else "" for values in costs)])
    kept = [i for i in range(1, len(_COSTS) + 1) if any(row[i] for row in rows)]
    if not kept:
        return ""
    headers = ["", *_COSTS.values()]
    table = _markdown(
        [[row[i] for i in (0, *kept)] for row in rows], [headers[i] for i in (0, *kept)]
    )
    return f"Cost: medians over the iterations, then over the runs.\n\n{table}"


def _markdown(rows: Sequence[Sequence[Any]], headers: Sequence[str]) -> str:
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)


def _write_csv(runs: Sequence[RunResults], path: str) -> None:
    """Write a line for each run."""
    metrics = dict.fromkeys(key for run in runs for key in run.metrics)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "seed", "folder", *metrics, *_COSTS])
        for run in runs:
            values = [run.metrics.get(key) for key in metrics]
            name = Path(run.name).name
            writer.writerow([name, run.seed, run.folder, *values, *map(run.costs.get, _COSTS)])


def _natural(path: Path) -> list[str | int]:
    """Return what to sort by: 5shot comes before 10shot."""
    return [int(part) if part.isdigit() else part for part in re.split(r"([0-9]+)", str(path))]
