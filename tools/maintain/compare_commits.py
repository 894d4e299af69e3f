#!/usr/bin/env python
"""Time the first iterations of a training against those of an earlier commit, in turn.

A clone of the commit trains by its own code and settings; then this tree by the settings that the
clone has written, which compares the code alone; then this tree by its own settings.
Each training is ended once it has done its iterations.

With --predictor, what is timed is the start of imted.Predictor on a run's folder, beside the
import of torch alone: seconds of CPU, which other work on the machine disturbs least.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from imted import allowed
from imted.errors import UserError, exit_status
from imted.run_folder import CONFIG, read_metrics

from tabulate import tabulate

ROOT = Path(__file__).resolve().parents[2]
EPILOG = """\
example
  python tools/maintain/compare_commits.py 80f3f23 \\
      --config-file configs/quickstart.py --iterations 120
  python tools/maintain/compare_commits.py 80f3f23 --predictor output/quickstart
"""


@dataclass
class Contestant:
    """What trains, and what came of it.

    Attributes:
        name: Its name in the table.
        tree: The code's folder.
        config: A config of that folder, or an absolute path.
        first: For each training, seconds from the command to the end of the first iteration.
        step: For each training, seconds of an iteration, the first left out.
        losses: Losses of the last training.
    """

    name: str
    tree: Path
    config: str
    first: list[float] = field(default_factory=list)
    step: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)


def argument_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("commit", help="a commit, tag or branch of this repository")
    allowed.add_option(parser)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--config-file", metavar="FILE", help="a config that both trees have")
    what.add_argument("--predictor", metavar="RUN", help="time the start of a predictor instead")
    add("--iterations", type=int, default=60, metavar="N",
        help="of each training (%(default)s)")  # fmt: skip
    add("--repeats", type=int, default=3, metavar="N",
        help="trainings, or starts, of each (%(default)s)")  # fmt: skip
    add("opts", nargs="*", metavar="key=value",
        help="changes of the config, in all three trainings")  # fmt: skip
    return parser


@exit_status
def main(argv: list[str] | None = None) -> None:
    """Train in turn, and print the table."""
    args = argument_parser().parse_intermixed_args(argv)
    if args.iterations < 2 or args.repeats < 1:
        raise UserError("--iterations must be at least 2, --repeats at least 1.")
    if args.predictor and args.opts:
        raise UserError(f"--predictor times a run as it is; leave out {args.opts[0]}.")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tree = clone(args.commit, folder / "tree")
        if args.predictor:
            print_starts(args.commit, tree, args.predictor, args.repeats, args.allow)
            return
        before = Contestant(args.commit, tree, args.config_file)
        code = Contestant("now, settings of " + args.commit, ROOT, str(folder / CONFIG))
        now = Contestant("now", ROOT, args.config_file)
        for _ in range(args.repeats):
            for contestant in (before, code, now):
                output = Path(tempfile.mkdtemp(dir=folder))
                train(contestant, args.iterations, args.opts, output, args.allow)
                if contestant is before:
                    (output / CONFIG).replace(code.config)
    print_table(before, code, now)


def clone(commit: str, folder: Path) -> Path:
    """Clone this repository at a commit; return the folder.

    Raises:
        UserError: There is no repository, or it has no such commit.
    """
    for command in (
        ("clone", "--quiet", "--shared", "--no-checkout", ROOT, folder),
        ("-C", folder, "checkout", "--quiet", "--detach", commit, "--"),
    ):
        process = subprocess.run(["git", *command], capture_output=True, text=True)
        if process.returncode:
            reason = process.stderr.strip().rpartition("\n")[2]
            raise UserError(f'"{commit}" can\'t be had from the repository in {ROOT} ({reason}).')
    return folder


def train(
    contestant: Contestant,
    iterations: int,
    opts: list[str],
    output: Path,
    allow: Sequence[str] = (),
) -> None:
    """Train for some iterations, and note what they took.

    Args:
        contestant: What trains.
        iterations: How many.
        opts: Changes of its config.
        output: A new folder for the training.
        allow: What a config.yaml may name beside the usual, see imted.allowed.

    Raises:
        UserError: The training has ended before them.
    """
    # Data and weights that are named by relative paths are those of this folder for all.
    command = [sys.executable, str(contestant.tree / "train_net.py"), "--config-file"]
    command += [str(contestant.tree / contestant.config)]
    if contestant.tree == ROOT:  # the commit may know no such option
        command += [f"--allow={name}" for name in allow]
    command += opts
    command += ["train.log_period=1", f"train.output_dir={output}"]
    losses: list[float] = []
    start, first = time.perf_counter(), 0.0
    with tempfile.TemporaryFile("w+") as printed:
        process = subprocess.Popen(
            command, stdout=printed, stderr=printed, env=environment(contestant.tree)
        )
        try:
            while len(losses) < iterations:
                ended = process.poll() is not None
                records = read_metrics(str(output))
                losses = [record["total_loss"] for record in records if "total_loss" in record]
                now = time.perf_counter()
                if losses and not first:
                    first = now
                if ended and len(losses) < iterations:
                    printed.seek(0)
                    lines = [line for line in printed.read().splitlines() if line.strip()]
                    raise UserError(
                        f"The training of {contestant.name} has ended after {len(losses)} of "
                        f"{iterations} iterations: {lines[-1] if lines else 'it printed nothing'}"
                    )
                time.sleep(0.01)
        finally:
            process.terminate()
            process.wait()
    contestant.first.append(first - start)
    contestant.step.append((now - first) / (iterations - 1))
    contestant.losses = losses[:iterations]


def environment(tree: Path) -> dict[str, str]:
    """Return the environment in which a process has the package of a tree."""
    paths = [str(tree / "projects/imTED"), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


def print_starts(commit: str, tree: Path, run: str, repeats: int, allow: Sequence[str]) -> None:
    """Print medians of the CPU seconds of starts, and their share of those before.

    Raises:
        UserError: A predictor can't start on the run.
    """
    predictor = f"import imted; imted.Predictor({run!r}, allow={list(allow)})"
    starts = {commit: (tree, predictor), "now": (ROOT, predictor), "torch": (ROOT, "import torch")}
    seconds: dict[str, list[float]] = {name: [] for name in starts}
    for _ in range(repeats):
        for name, (folder, code) in starts.items():
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            done = subprocess.run(
                [sys.executable, "-c", code],
                env=environment(folder),
                capture_output=True,
                text=True,
            )
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            if done.returncode:
                reason = done.stderr.strip().rpartition("\n")[2]
                raise UserError(f"{name}: {reason}")
            seconds[name].append(
                after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            )
    rows = []
    for name, mine in seconds.items():
        shares = [a / b for a, b in zip(mine, seconds[commit], strict=True)]
        rows.append([name, f"{median(mine):.2f}", f"{median(shares):.2f}"])
    print(tabulate(rows, ["", "s of CPU to the start", "share"], disable_numparse=True))


def print_table(before: Contestant, code: Contestant, now: Contestant) -> None:
    """Print medians, and how many times faster than before, with the least and the most."""
    rows = []
    for one in (before, code, now):
        rows.append([one.name])
        for mine, others in ((one.step, before.step), (one.first, before.first)):
            ratios = [b / a for a, b in zip(mine, others, strict=True)]
            spread = f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            rows[-1] += [f"{median(mine):.3f}", spread if one is not before else ""]
    header = ["", "s / iteration", "times faster", "s to the first", "times faster"]
    print(tabulate(rows, header, disable_numparse=True))
    difference = max(abs(a - b) for a, b in zip(before.losses, code.losses, strict=True))
    print(f"\nlargest difference of the losses, by the same settings: {difference:.2g}")


if __name__ == "__main__":
    sys.exit(main())
