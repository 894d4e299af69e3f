"""Try to break runs, and print a table: `python tools/maintain/campaign data`.

The status is 1 if one breaks.

It takes minutes, so it is no part of `make test`.
"""

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import weights

import cases
import data
import kills
import settings
import tools

Rows = Iterator[tuple[str, str, str]]


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="+", choices=PARTS)
    parser.add_argument("--number", type=int, default=50, help="of random cases (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of these (%(default)s)")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time (%(default)s)")
    args = parser.parse_args()
    verdicts: Counter[str] = Counter()
    for part in args.parts:
        print(f"\n## {part}\n\n| case | seen | verdict |\n|---|---|---|")
        with tempfile.TemporaryDirectory() as base:
            for case, seen, verdict in PARTS[part](args, Path(base)):
                print(f"| {case} | {seen} | {verdict} |", flush=True)
                verdicts[verdict] += 1
    print(f"\n{verdicts['good']} good, {verdicts['BAD']} BAD")
    return 1 if verdicts["BAD"] else 0


def _all(part: ModuleType) -> Callable[[argparse.Namespace, Path], Rows]:
    return lambda args, base: cases.play(part.cases(), base, args.jobs)


def _kills(args: argparse.Namespace, base: Path) -> Rows:
    return kills.campaign(args.number, args.seed, args.jobs, base)


def _settings(args: argparse.Namespace, base: Path) -> Rows:
    return cases.play(settings.cases(args.number, args.seed), base, args.jobs)


PARTS: dict[str, Callable[[argparse.Namespace, Path], Rows]] = {
    "data": _all(data),
    "kills": _kills,
    "settings": _settings,
    "tools": _all(tools),
    "weights": _all(weights),
}

if __name__ == "__main__":
    sys.exit(main())
