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

from imted.config.compare import read_flat
from imted.errors import UserError
from imted.extras.sweep.plots import save_curves, save_metrics
from imted.extras.sweep.points import is_seed
from imted.extras.sweep.runs import evaluated_iterations, read_record
from imted.extras.sweep.statistics import Difference, holm, mean_interval, paired_difference
from imted.outputs import output_file, write_text
from imted.run_folder import RESULTS, read_metrics, read_results
from imted.training.hooks import EVALUATED

_SEED = re.compile(r"[_-]?seed[_=-]?\d+", re.IGNORECASE)
_COSTS = {"time": "s/iteration", "images_per_second": "images/s", "max_mem": "memory, MB"}


@dataclass(frozen=True)
class RunResults:
    """A run that has been evaluated, as its folder tells.

    Attributes:
        folder: Its path.
        name: The experiment's name, which it shares with other seeds.
        data: The data set that it was evaluated on: what was measured on another isn't compared.
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
    data: str
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
    names = _metrics(runs, wanted)
    by_data = {
        data: group(run for run in runs if run.data == data)
        for data in dict.fromkeys(run.data for run in runs)
    }
    if baseline is not None and not any(baseline in own for own in by_data.values()):
        known = dict.fromkeys(name for own in by_data.values() for name in own)
        raise UserError(f"--baseline {baseline!r} is none of {', '.join(known)}.")
    first, several = names[0], len(by_data) > 1
    parts = ["# Sweep"]
    if several:
        parts.append(_overview(by_data, first))
    for data, experiments in by_data.items():
        if several:
            parts.append(f"## {data}")
        parts.append(_table(experiments, names))
        parts.append(_comparison(experiments, names, baseline or next(iter(experiments))))
        parts.append(_cost_table(experiments))
    parts.extend(f"Not counted: {run.folder}, {run.unfinished}." for run in found if run.unfinished)
    os.makedirs(output, exist_ok=True)
    _write_csv(runs, os.path.join(output, "runs.csv"))
    every = {
        (f"{data}: {name}" if several else name): own
        for data, experiments in by_data.items()
        for name, own in experiments.items()
    }
    values = {name: _values(own, first) for name, own in every.items()}
    save_metrics(values, first, os.path.join(output, "metrics.png"))
    parts.append(f"![{first}, each run and the mean](metrics.png)")
    curves = {name: [run.curve.get(first, []) for run in own] for name, own in every.items()}
    if any(len(curve) > 1 for own in curves.values() for curve in own):
        save_curves(curves, first, os.path.join(output, "curves.png"))
        parts.append(f"![{first} against iterations](curves.png)")
    text = "\n\n".join(filter(None, parts)) + "\n"
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
    record = read_record(folder) or {}
    config = record.get("config") or read_flat(folder)
    name = record.get("group") or _SEED.sub("", str(folder.resolve()))
    end = record.get("max_iter", config.get("train.max_iter"))
    end = end if isinstance(end, int) else math.inf  # it may be a reference that isn't resolved
    plain = {key: _SEED.sub("", str(value)) for key, value in config.items() if not is_seed(key)}
    seeds = _SEED.findall(str(folder.resolve()))
    costs = defaultdict(list)
    curve = defaultdict(list)
    for r in read_metrics(str(folder)):
        for key in _COSTS.keys() & r.keys():
            costs[key].append(r[key])
        for key, value in r.items() if EVALUATED in r else ():
            if "/" in key and isinstance(value, int | float):
                # Counted from 0, but for the evaluation at the end.
                curve[key].append((min(r["iteration"] + 1, end), value))
    last = max(evaluated_iterations(str(folder)), default=math.inf)  # results alone are taken, too
    return RunResults(
        folder=str(folder),
        name=name,
        data=record.get("data") or str(config.get("dataset.val_json", "")),
        experiment=json.dumps([plain, name if not config else ""], sort_keys=True),
        seed=re.sub(r"\D", "", seeds[-1]) if seeds else str(config.get("train.seed", 0)),
        metrics={f"{t}/{m}": v for t, ms in read_results(folder).items() for m, v in ms.items()},
        costs={key: float(np.median(values)) for key, values in costs.items()},
        curve=dict(curve),
        number=record.get("number", 0),
        unfinished=f"evaluated after {last + 1} of {end} iterations"
        if last < end < math.inf
        else "",
    )


def group(runs: Iterable[RunResults]) -> Experiments:
    """Put the seeds of an experiment together; two of one name get their folders' as well."""
    by_config = defaultdict(list)
    for run in runs:
        by_config[run.experiment].append(run)
    names = [Path(own[0].name).name for own in by_config.values()]
    return {
        (name if names.count(name) == 1 else f"{name} ({_SEED.sub('', own[0].folder)})"): own
        for name, own in zip(names, by_config.values(), strict=True)
    }


def _metrics(runs: Sequence[RunResults], wanted: Sequence[str] | None) -> list[str]:
    """Return the metrics to show, those that any run has measured."""
    known = dict.fromkeys(
        key for run in runs for key, value in run.metrics.items() if value is not None
    )
    if wanted is None:
        return [key for key in known if "/AP-" not in key]
    chosen = []
    for name in wanted:
        keys = [key for key in known if key == name or key.endswith(f"/{name}")]
        if not keys:
            raise UserError(
                f"--metrics: no run has measured {name!r}; there are "
                f"{', '.join(sorted({key.partition('/')[2] for key in known}))}."
            )
        chosen += keys
    return chosen


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


def _overview(by_data: Mapping[str, Experiments], metric: str) -> str:
    """Show one metric of every experiment on every data set."""
    names = list(dict.fromkeys(name for own in by_data.values() for name in own))
    rows = []
    for data, experiments in by_data.items():
        runs = [experiments.get(name, []) for name in names]
        rows.append([data, *(_cell(list(_values(own, metric).values()), len(own)) for own in runs)])
    note = f"{metric}: mean over seeds, with its 95 % confidence interval (Student's t)."
    return f"{note}\n\n{_markdown(rows, [metric, *names])}"


def _cell(values: list[float], runs: int) -> str:
    if not values:
        return ""
    mean, half = mean_interval(values)
    text = f"{mean:.2f}{_plus_minus(half)}"
    return text if len(values) == runs else f"{text} ({len(values)} of {runs})"


def _comparison(experiments: Experiments, metrics: Sequence[str], baseline: str) -> str:
    """Compare every experiment with the baseline, by the seeds that both have."""
    sections = []
    for metric in metrics:
        base = _values(experiments.get(baseline, ()), metric)
        rows: dict[str, Difference] = {}
        for name, runs in experiments.items():
            own = _values(runs, metric)
            seeds = [seed for seed in own if seed in base]
            if seeds and name != baseline:
                rows[name] = paired_difference(*([v[seed] for seed in seeds] for v in (own, base)))
        corrected = holm([row.p for row in rows.values()])
        cells = [
            [name, row.pairs, f"{row.mean:+.2f}{_plus_minus(row.half_width)}", _p(row.p), _p(p)]
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


def _plus_minus(half: float) -> str:
    return "" if math.isnan(half) else f" ± {half:.2f}"


def _p(value: float) -> str:
    if math.isnan(value):
        return ""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _cost_table(experiments: Experiments) -> str:
    known = {key for runs in experiments.values() for run in runs for key in run.costs}
    columns = {key: title for key, title in _COSTS.items() if key in known}
    if not columns:
        return ""
    rows = []
    for name, runs in experiments.items():
        costs = [[run.costs[key] for run in runs if key in run.costs] for key in columns]
        rows.append([name, *(f"{np.median(values):.4g}" if values else "" for values in costs)])
    table = _markdown(rows, ["", *columns.values()])
    return f"Cost: medians over the iterations, then over the runs.\n\n{table}"


def _markdown(rows: Sequence[Sequence[Any]], headers: Sequence[str]) -> str:
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)


def _write_csv(runs: Sequence[RunResults], path: str) -> None:
    metrics = dict.fromkeys(key for run in runs for key in run.metrics)
    with output_file(path) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "data", "seed", "folder", *metrics, *_COSTS])
        for run in runs:
            values = [*map(run.metrics.get, metrics), *map(run.costs.get, _COSTS)]
            writer.writerow([Path(run.name).name, run.data, run.seed, run.folder, *values])


def _natural(path: Path) -> list[str | int]:
    """Return what to sort by: 5shot comes before 10shot."""
    return [int(part) if part.isdigit() else part for part in re.split(r"([0-9]+)", str(path))]
