"""Try to break runs: `python tests/campaign kills` and others; a table, and status 1 if one breaks.

It takes minutes, so it is no part of `make test`.
"""

import argparse
import sys
from collections import Counter

import kills


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python tests/campaign", description=__doc__)
    parser.add_argument("parts", nargs="+", choices=PARTS)
    parser.add_argument("--number", type=int, default=50, help="of kills (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (%(default)s)")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time (%(default)s)")
    args = parser.parse_args()
    verdicts: Counter[str] = Counter()
    for part in args.parts:
        print(f"\n## {part}\n\n| case | seen | verdict |\n|---|---|---|")
        for case, seen, verdict in PARTS[part](args):
            print(f"| {case} | {seen} | {verdict} |", flush=True)
            verdicts[verdict] += 1
    print(f"\n{verdicts['good']} good, {verdicts['BAD']} BAD")
    return 1 if verdicts["BAD"] else 0


PARTS = {"kills": lambda args: kills.campaign(args.number, args.seed, args.jobs, [])}

if __name__ == "__main__":
    sys.exit(main())
