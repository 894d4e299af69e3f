"""Try to break runs, and print a table: `python tools/maintain/campaign data`.

The status is 1 if one breaks.

All of it takes many minutes; the tests play a sample of a minute (`--number`, by seed).
"""

import argparse
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import weights

import cases
import data
import files
import kills
import outputs
import settings
import tools

Rows = Iterator[tuple[str, str, str]]
Part = Callable[[argparse.Namespace, Path], Rows]
RANDOM = 50
"""Cases of a part that draws all of its own."""


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="+", choices=PARTS)
    parser.add_argument("--number", type=int, metavar="N",
        help="cases of each part, drawn at random (all; of kills and settings, 50)")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="seed of the draw (%(default)s)")
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


def _drawn(cases_of: Callable[[argparse.Namespace], Iterable[cases.Case]]) -> Part:
    """Return a part that plays its cases, or as many of them as are asked for."""

    def play(args: argparse.Namespace, base: Path) -> Rows:
        chosen = list(cases_of(args))
        if args.number is not None:
            chosen = random.Random(args.seed).sample(chosen, min(args.number, len(chosen)))
        return cases.play(chosen, base, args.jobs)

    return play


def _kills(args: argparse.Namespace, base: Path) -> Rows:
    return kills.campaign(args.number or RANDOM, args.seed, args.jobs, base)


PARTS: dict[str, Part] = {
    "data": _drawn(lambda _: data.cases()),
    "files": _drawn(lambda args: files.cases(RANDOM, args.seed)),
    "kills": _kills,
    "outputs": _drawn(lambda _: outputs.cases()),
    "settings": _drawn(lambda args: settings.cases(RANDOM, args.seed)),
    "tools": _drawn(lambda _: tools.cases()),
    "weights": _drawn(lambda _: weights.cases()),
}

if __name__ == "__main__":
    sys.exit(main())
