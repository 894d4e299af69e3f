"""Run a config at many points, and compare what they reach.

Every point is checked before the first one starts. Called again, a sweep goes on where it stopped:
finished runs are left alone, others resume.
"""

import argparse
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from imted.atomic import make_folder
from imted.errors import UserError, exit_status
from imted.extras.sweep.points import expand, read_points, read_sets
from imted.extras.sweep.progress import Progress
from imted.extras.sweep.report import report
from imted.extras.sweep.runs import PlannedRun, plan, write_record
from imted.run_folder import locked

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

EPILOG = """\
key=value
  as train_net.py takes them; a value that lists several makes a run for each, in Hydra's grammar:
  a,b  choice(a,b)  range(5)  range(1,10,3)  glob(folder/*.pth)
  interval(1e-5,1e-3) and tag(log,interval(1e-5,1e-3)) with --samples

examples
  python tools/sweep.py --config-file configs/quickstart.py --output output/sweep \\
      model.roi_heads.variant=imted,integral 'train.seed=range(5)'
  python tools/sweep.py --config-file configs/many_scales.py \\
      --points configs/ablation_points/variants.py --output output/variants 'train.seed=range(5)'
  python tools/sweep.py --config-file configs/quickstart.py --output output/search --samples 20 \\
      'optimizer.lr=tag(log,interval(1e-4,3e-3))'
  python tools/sweep.py --launcher slurm --num-gpus 8 \\
      --slurm partition=gpu --slurm time=600 ...
  python tools/sweep.py --report output/variants --baseline integral --metrics AP APs APm APl

what it writes
  OUTPUT/<point>/          a run, as train_net.py writes it, and point.json
  OUTPUT/report.md         and runs.csv, metrics.png, curves.png: see --report
  OUTPUT/jobs/             logs of the jobs
"""


@exit_status
def main(argv: list[str] | None = None) -> int:
    """Run the sweep, or report on what has been run."""
    args = _parser().parse_intermixed_args(argv)
    if args.report:
        text = report(args.report, args.output or args.report[0], args.baseline, args.metrics)
        print(text)
        return 0
    if not args.config_file or not args.output:
        raise UserError("A sweep needs --config-file and --output (or --report FOLDER).")
    for word in args.metrics or ():
        if "=" in word:
            raise UserError(f"--metrics {word} is no metric; put another option after --metrics.")
    if args.num_gpus < 0 or (args.jobs or 1) < 1 or args.samples < 0:
        raise UserError("--num-gpus and --samples mustn't be negative, --jobs must be at least 1.")
    sets, absent = read_sets(args.sets) if args.sets else (None, {})
    for name, file in absent.items():
        print(f"Left out: {name}, there is no {file}.")
    named = read_points(args.points) if args.points else None
    points = expand(args.opts, named, args.samples, args.sample_seed, sets)
    here = args.launcher == "local"
    slots = _launchers().slots_here(args.jobs, args.num_gpus) if here else []
    runs = plan(args.config_file, points, args.output, args.num_gpus, here)
    make_folder(args.output, "--output")
    if args.launcher == "print":
        for number, run in enumerate(runs):
            write_record(run, number)
            if not run.finished:
                print(shlex.join(["python", "train_net.py", *run.words]))
        return 0
    with locked(args.output):
        failed = _run(runs, args, slots)
    if any(run.finished and run.evaluates for run in runs):
        print(report([args.output], args.output, args.baseline, args.metrics))
    return 1 if failed else 0


def _run(runs: Sequence[PlannedRun], args: argparse.Namespace, slots: list) -> int:
    """Run what isn't finished; return how many runs have failed."""
    # Not by way of SIGINT, which a shell has its background jobs ignore.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    left = [run for run in runs if not run.finished]
    busy = [run for run in left if run.running]
    todo = [run for run in left if run not in busy]
    for number, run in enumerate(runs):
        if run in todo:
            write_record(run, number)
    progress = Progress(runs)
    logs = os.path.join(args.output, "jobs")
    launchers = _launchers()
    try:
        if args.launcher == "slurm":
            ended = launchers.run_on_slurm(
                todo,
                logs,
                progress.show,
                jobs=args.jobs,
                num_gpus=args.num_gpus,
                options=_slurm_options(args.slurm),
            )
        else:
            ended = launchers.run_here(todo, slots, logs, progress.show)
        for run, error in ended:
            progress.end(run, error)
    except KeyboardInterrupt:
        progress.close()
        raise UserError(
            "Stopped; what ran has been saved. The same command goes on from there."
        ) from None
    progress.close()
    for run in busy:
        print(f"{run.folder} is in use by another process; call again when that has ended.")
    return len(progress.failed) + len(busy)


def _launchers() -> ModuleType:
    """Import what needs submitit; a report does without."""
    try:
        from imted.extras.sweep import launch
    except ModuleNotFoundError as error:
        raise UserError(
            f"A sweep needs the package {error.name}; pip install submitit (docs/sweeps.md)."
        ) from None
    return launch


def _slurm_options(words: Sequence[str]) -> dict[str, Any]:
    """Read options of sbatch, key=value, as submitit's executor takes them."""
    options = {}
    for word in words:
        try:
            override = OverridesParser.create().parse_override(word)
        except HydraException:
            raise UserError(f"--slurm {word}: write key=value, as partition=gpu.") from None
        options[override.get_key_element()] = override.value()
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--config-file", metavar="FILE", help="a LazyConfig (.py), as of train_net.py")
    add("--points", metavar="FILE",
        help="a LazyConfig of points, such as configs/ablation_points/variants.py")  # fmt: skip
    add("--sets", metavar="FILE",
        help="a LazyConfig of data sets, such as configs/data_sets/own_data.py: all points run on "
        "each that is there")  # fmt: skip
    add("--output", metavar="FOLDER", help="of the sweep; of --report, the first FOLDER")
    add("--samples", type=int, default=0, metavar="N",
        help="draw N values for the intervals (random search)")  # fmt: skip
    add("--sample-seed", type=int, default=0, metavar="SEED", help="of these draws (%(default)s)")
    add("--launcher", choices=("local", "slurm", "print"), default="local",
        help="local: as many runs at a time as there are GPUs, or else CPU cores; slurm: an array "
        "of jobs; print: the commands, to run elsewhere (%(default)s)")  # fmt: skip
    add("--jobs", type=int, metavar="N", help="runs at a time, at most")
    add(
        "--num-gpus",
        type=int,
        default=1,
        metavar="N",
        help="of one run; 0 runs on CPUs (%(default)s)",
    )
    add("--slurm", action="append", default=[], metavar="key=value",
        help="an option of sbatch, such as partition=gpu, time=600, cpus_per_task=16; give it "
        "once for each")  # fmt: skip
    add("--report", nargs="+", metavar="FOLDER",
        help="compare the runs in these folders, finished or not; run nothing")  # fmt: skip
    add("--baseline", metavar="NAME", help="what others are compared with (the first)")
    add("--metrics", nargs="+", metavar="NAME",
        help="such as AP or bbox/AP50 (all but the AP of single classes)")  # fmt: skip
    add("opts", nargs="*", metavar="key=value", help="see below")
    return parser


if __name__ == "__main__":
    sys.exit(main())
