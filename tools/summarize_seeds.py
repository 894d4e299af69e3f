"""Mean and 95 % confidence interval (Student's t) of every metric over runs of several seeds.

Runs whose folders differ in their seed alone, such as 10shot_seed0 and 10shot_seed1, share a
column.
"""

import argparse
import json
import math
import re
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import stats
from tabulate import tabulate

from imted.errors import UserError, exit_status

EPILOG = """\
example
  python tools/summarize_seeds.py output/few_shot/*shot_seed*/results.json --metrics bAP nAP
"""

Metrics = dict[tuple[str, str], float | None]  # of one run, by task and name


@exit_status
def main(argv: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", nargs="+", help="results.json of a run, one a seed")
    parser.add_argument(
        "--metrics", nargs="+", help="names such as nAP (all but the AP of single classes)"
    )
    args = parser.parse_args(argv)
    columns = defaultdict(list)
    paths = {Path(path).resolve(): path for path in args.results}  # each run once
    for path in sorted(paths.values(), key=_natural):
        columns[_experiment(path)].append(_read(path))
    rows = _rows(list(columns.values()), args.metrics)
    names = [Path(folder).name for folder in columns]
    names = names if len(set(names)) == len(names) else list(columns)
    headers = ["task", "metric"]
    for name, runs in zip(names, columns.values(), strict=True):
        headers.append(f"{name}, {len(runs)} run{'s'[: len(runs) > 1]}")
    print(tabulate(rows, headers, tablefmt="github", disable_numparse=True))


def _natural(path: str) -> list[str | int]:
    """Return what to sort by: 5shot comes before 10shot."""
    return [int(part) if part.isdigit() else part for part in re.split(r"([0-9]+)", path)]


def _experiment(path: str) -> str:
    """Return what a run's folder has in common with those of other seeds."""
    return re.sub(r"_?seed\d+", "", str(Path(path).resolve().parent))


def _read(path: str) -> Metrics:
    """Read a run's metrics; None stands for one without any object."""
    try:
        content = json.loads(Path(path).read_text())
        run = {(t, m): value for t, metrics in content.items() for m, value in metrics.items()}
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}; correct the path.") from None
    except (ValueError, AttributeError):
        run = None
    if run is None or not all(v is None or isinstance(v, int | float) for v in run.values()):
        raise UserError(f"{path} is not a results.json of this project; name a run's own.")
    return run


def _rows(columns: list[list[Metrics]], wanted: list[str] | None) -> list[list[str]]:
    """Return a row for each metric that a run has measured."""
    runs = [run for column in columns for run in column]
    keys = [
        key
        for key in dict.fromkeys(key for run in runs for key in run)
        if any(run.get(key) is not None for run in runs)
    ]
    names = {metric for _, metric in keys}
    unknown = [name for name in wanted or () if name not in names]
    if unknown:
        raise UserError(
            f"--metrics: no run has measured {unknown[0]!r}; there are {', '.join(sorted(names))}."
        )
    return [
        [task, metric, *(_cell([run.get((task, metric)) for run in column]) for column in columns)]
        for task, metric in keys
        if (metric in wanted if wanted else not metric.startswith("AP-"))
    ]


def _cell(values: list[float | None]) -> str:
    """Give mean and interval of the runs that have a value, and how many those are."""
    measured = [value for value in values if value is not None]
    if not measured:
        return ""
    mean, half = mean_interval(measured)
    text = f"{mean:.2f} ± {half:.2f}" if len(measured) > 1 else f"{mean:.2f}"
    return text if len(measured) == len(values) else f"{text} ({len(measured)} of {len(values)})"


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Return the mean and half the width of its confidence interval, by Student's t.

    Args:
        values: Of independent runs; the half-width of one alone is NaN.
        confidence: The probability that the interval holds the true mean, if the values are
            normal.
    """
    mean = float(np.mean(values))
    if len(values) == 1:
        return mean, math.nan
    quantile = stats.t.ppf((1 + confidence) / 2, len(values) - 1)
    return mean, float(quantile * stats.sem(values))


if __name__ == "__main__":
    sys.exit(main())
