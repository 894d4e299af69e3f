#!/usr/bin/env python
"""Try on a GPU, in the minutes that it can be had, what has to be tried there.

The steps come in the order of what they are worth. Each has a limit; one that doesn't fit into
what is left is left out by name. summary.json is written anew as each step ends.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[2]
GRACE = 10
"""Seconds that a step has to save when its time is over."""
EPILOG = """\
example, in a copy without git and without a network:
  PYTHONPATH=SITE:projects/imTED python3 tools/maintain/gpu_check.py OUT --minutes 9
"""


@dataclass(frozen=True)
class Step:
    """A command and its time.

    Attributes:
        name: Of its log and its figures.
        words: The command line after `python`.
        limit: Seconds after which it is stopped.
        least: Seconds without which it isn't worth starting.
        resumed: It is stopped by SIGTERM at its first checkpoint, and goes on by `--resume`.
        output: The folder that has its figures: of a run or of the benchmark.
    """

    name: str
    words: Sequence[str]
    limit: float
    least: float
    resumed: bool = False
    output: Path | None = None


@dataclass
class Summary:
    """What summary.json says, written as it grows."""

    path: Path
    content: dict[str, Any] = field(default_factory=dict)

    def add(self, name: str, **values: Any) -> None:
        """Note what came of a step, and show it."""
        self.content.setdefault("steps", {})[name] = values
        self.path.write_text(json.dumps(self.content, indent=1) + "\n")
        shown = (f"{key} {value}" for key, value in values.items() if key != "figures")
        print(f"{name}: {', '.join(shown)}", flush=True)


def main() -> int:
    """Run the command line; the status is 1 if a step has failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="for logs, runs and summary.json")
    parser.add_argument("--minutes", type=float, default=9, help="in all (%(default)s)")
    parser.add_argument(
        "--dry-run", action="store_true", help="on a CPU, a few iterations, to see that it runs"
    )
    parser.add_argument(
        "--photos", type=Path, metavar="FOLDER", help="what the MAE is pre-trained on (the shapes)"
    )
    args = parser.parse_args()
    end = time.monotonic() + 60 * args.minutes
    folder: Path = args.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    summary = Summary(folder / "summary.json", {"machine": machine()})
    for step in steps(folder, args.photos, args.dry_run):
        left = end - time.monotonic() - GRACE
        if left < step.least:
            summary.add(step.name, state="left out", left=f"{max(left, 0):.0f} s")
            continue
        start = time.monotonic()
        state = run(step, min(step.limit, left), folder)
        seconds = f"{time.monotonic() - start:.0f} s"
        summary.add(step.name, state=state, took=seconds, figures=figures(step, folder))
    return int(any(step["state"] == "FAILED" for step in summary.content["steps"].values()))


def machine() -> dict[str, Any]:
    """Return what runs here."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"gpu": gpu, "torch": torch.__version__, "python": sys.version.split()[0]}


def steps(folder: Path, photos: Path | None, dry: bool) -> list[Step]:
    """Return all steps, the most valuable first."""
    shapes = folder / "datasets/shapes"
    draw = ["datasets/prepare_shapes.py", "--output", str(shapes), "--max-objects", "4"]
    draw += ["--min-object", "0.25", "--class-colours"]
    brief = ["train.device=cpu", "train.max_iter=4", "train.checkpointer.period=2"] if dry else []
    demo = folder / "demo"
    mae = folder / "mae"
    pretraining = ["dataloader.train.total_batch_size=4"] if dry else ["train.amp.enabled=true"]
    return [
        Step("tests", ["-m", "pytest", "tests/test_gpu.py", "-p", "no:cacheprovider"], 120, 20),
        _benchmark("small" if dry else "base", folder, 240, dry),
        Step(
            "shapes",
            [*draw, *(["--train-images", "20", "--val-images", "4"] if dry else [])],
            90,
            10,
        ),
        Step(
            "demo",
            [
                *("train_net.py", "--config-file", "configs/quickstart.py"),
                *(() if dry else ("train.amp.enabled=true", "train.amp.dtype=bf16")),
                *("dataloader.train.num_workers=4", "dataloader.test.num_workers=0"),
                *brief,
                f"train.output_dir={demo}",
            ],
            150,
            30,
            resumed=True,
            output=demo,
        ),
        *(_benchmark(size, folder, 90, dry) for size in (() if dry else ("small", "large"))),
        Step(
            "mae",
            [
                *("train_net.py", "--config-file", "configs/pretrain/mae_vit_tiny.py"),
                *brief,
                *pretraining,
                f"dataloader.train.dataset.images={photos or shapes / 'train'}",
                f"train.output_dir={mae}",
            ],
            600,
            30,
            output=mae,
        ),
    ]


def _benchmark(size: str, folder: Path, limit: float, dry: bool) -> Step:
    output = folder / f"benchmark_{size}"
    small = ["--image-size", "64", "96", "--repeats", "1", "--warm-up", "0"]
    full = ["--image-size", "800", "1333", "--repeats", "10", "--warm-up", "3"]
    config = f"configs/coco/imted_mask_rcnn_vit_{size}_3x.py"
    words = ["tools/benchmark.py", "--config-file", config, "--task", "eval", "train"]
    words += [*(small if dry else full), "--output", str(output)]
    if dry:
        words += ["train.device=cpu", "model.proposal_generator.post_nms_topk=[20,20]"]
        words += ["model.roi_heads.batch_size_per_image=16"]
        words += ["train.amp.enabled=false"]  # slow on a CPU without bfloat16
    else:
        words += ["train.amp.enabled=true", "train.amp.dtype=bf16"]
    words += ["--against", "released"]
    if not dry:  # of which no option makes a small one
        words += [f"configs/baselines/mask_rcnn_vitdet_{size}_3x.py"]
    return Step(f"benchmark_{size}", words, limit, min(limit, 40), output=output)


def run(step: Step, limit: float, folder: Path) -> str:
    """Run a step and return how it ended: done, FAILED, or stopped as its time was over."""
    end = time.monotonic() + limit
    with open(folder / f"{step.name}.log", "w") as log:
        if not step.resumed:
            return _end(_start(step.words, log, folder), end)
        process = _start(step.words, log, folder)
        last = step.output / "last_checkpoint" if step.output else folder
        while not last.is_file() and process.poll() is None and time.monotonic() < end:
            time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        if _end(process, end) == "FAILED" and process.returncode != 128 + signal.SIGTERM:
            return "FAILED"
        script, *options = step.words
        at = options.index("--config-file") + 2
        return _end(_start([script, *options[:at], "--resume", *options[at:]], log, folder), end)


def _start(words: Sequence[str], log: Any, folder: Path) -> subprocess.Popen:
    environment = os.environ | {"DETECTRON2_DATASETS": str(folder / "datasets")}
    paths = [str(ROOT / "projects/imTED"), os.environ.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    command = [sys.executable, *words]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
    )


def _end(process: subprocess.Popen, end: float) -> str:
    """Wait for a process until a time, then stop it; return how it ended."""
    try:
        return "FAILED" if process.wait(max(0.0, end - time.monotonic())) else "done"
    except subprocess.TimeoutExpired:
        for signum in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(process.pid, signum)
                process.wait(GRACE)
        return "stopped"


def figures(step: Step, folder: Path) -> dict[str, Any]:
    """Read what a step has measured, as far as it came."""
    found: dict[str, Any] = {}
    last = (folder / f"{step.name}.log").read_text().strip().splitlines()[-1:]
    if step.name == "tests" and last:
        found.update({word: int(n) for n, word in re.findall(r"(\d+) ([a-z]+)", last[0])})
    if step.output is None:
        return found
    with suppress(OSError, ValueError):
        compared = json.loads((step.output / "benchmark.json").read_text())
        for task, systems in compared.items():
            found[task] = {name: _of_system(values) for name, values in systems.items()}
    with suppress(OSError, ValueError):
        found["results"] = json.loads((step.output / "results.json").read_text())
    with suppress(OSError):
        lines = (step.output / "metrics.json").read_text().splitlines()
        speeds = [json.loads(line).get("images_per_second") for line in lines]
        known = [speed for speed in speeds if speed]
        if known:
            found["images_per_second"] = median(known)
    return found


def _of_system(values: dict[str, Any]) -> dict[str, Any]:
    found = {key: value for key, value in values.items() if key != "seconds"}
    return {"seconds": median(values["seconds"]), **found}


if __name__ == "__main__":
    sys.exit(main())
