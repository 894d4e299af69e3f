"""Mean and 95 % confidence interval (Student's t) of every metric over runs of several seeds."""

import argparse
import json
import sys
from pathlib import Path

from tabulate import tabulate

from imted.errors import UserError
from imted.evaluation.seeds import mean_interval

EPILOG = """\
example
  python tools/summarize_seeds.py output/few_shot/10shot_seed*/results.json
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", nargs="+", help="results.json of a run, one a seed")
    parser.add_argument("--classes", action="store_true", help="also the AP of every class")
    args = parser.parse_args(argv)
    try:
        runs = [_read(path) for path in args.results]
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    rows = []
    for task, metric in dict.fromkeys(key for run in runs for key in run):
        values = [run[task, metric] for run in runs if run.get((task, metric)) is not None]
        if not values or (metric.startswith("AP-") and not args.classes):
            continue
        mean, half = mean_interval(values)
        rows.append((task, metric, len(values), mean, half))
    headers = ("task", "metric", "runs", "mean", "± 95 %")
    print(tabulate(rows, headers=headers, tablefmt="github", floatfmt=".2f"))
    return 0


def _read(path: str) -> dict[tuple[str, str], float | None]:
    """Read a run's metrics by task and name; None stands for one without any object."""
    try:
        content = json.loads(Path(path).read_text())
        return {(t, m): value for t, metrics in content.items() for m, value in metrics.items()}
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}; correct the path.") from None
    except (ValueError, AttributeError):
        raise UserError(f"{path} is not a results.json of this project.") from None


if __name__ == "__main__":
    sys.exit(main())
