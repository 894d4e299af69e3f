"""Runs that are killed, stopped and resumed: they must end as the one that nothing interrupted."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[3]
PATHS = [ROOT / "tools/maintain/campaign", ROOT / "tests/training", ROOT / "projects/imTED"]
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
PATIENCE = 120
"""Seconds after which a process is taken to hang."""


def start(folder: Path, *words: str) -> subprocess.Popen:
    """Start train_net.py on the slowed toy; its run is in `folder`/run."""
    path = os.pathsep.join([*map(str, PATHS), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    env["CAMPAIGN_FOLDER"] = str(folder)
    command = [
        sys.executable,
        "train_net.py",
        "--config-file",
        "tools/maintain/campaign/slow_config.py",
    ]
    return subprocess.Popen(
        [*command, *words, f"train.output_dir={folder}/run"],
        cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def compare(whole: Path, resumed: Path) -> str:
    """Say in what a resumed run differs from the whole one; "" for nothing."""
    files = [
        sorted(
            str(path.relative_to(run))
            for path in run.rglob("*")
            if path.is_file() and "tfevents" not in path.name  # one for each start
        )
        for run in (whole, resumed)
    ]
    if files[0] != files[1]:
        return f"other files: {sorted(set(files[0]) ^ set(files[1]))}"
    for name in ("results.json", "model_best.json", "last_checkpoint"):
        if (whole / name).read_bytes() != (resumed / name).read_bytes():
            return f"another {name}"
    for name in (name for name in files[0] if name.endswith(".pth")):
        one, two = (torch.load(run / name, weights_only=True) for run in (whole, resumed))
        if not _equal(one, two):
            return f"another {name}"
    return ""


def _equal(one: object, two: object) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, two)
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(_equal(one[k], two[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(_equal, one, two))
    return one == two or one != one


def wait_for(process: subprocess.Popen, seen: Callable[[], bool]) -> None:
    """Wait until something is seen or the process has ended."""
    while process.poll() is None and not seen():
        time.sleep(0.002)


def interrupt(folder: Path, aim: str, seconds: float, signum: int) -> int:
    """Start a run, send a signal at a moment, and return the status.

    Args:
        folder: The run's folder.
        aim: "any" waits from the reading of the config, "save" and "evaluation" wait for
            one of these.
        seconds: How long to wait at the moment that is aimed at.
        signum: The signal.
    """
    process = start(folder, "--resume")
    run = folder / "run"
    seen = {
        "any": lambda: (folder / "started").exists(),
        "save": lambda: any(run.glob("*.partial")),
        "evaluation": lambda: (folder / "evaluating").exists(),
    }
    wait_for(process, seen[aim])
    end = time.monotonic() + seconds
    wait_for(process, lambda: time.monotonic() > end)
    process.send_signal(signum)
    try:
        process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        return -999
    for marker in ("started", "evaluating"):
        (folder / marker).unlink(missing_ok=True)
    return process.returncode


def play(number: int, seed: int, base: Path) -> tuple[str, str, str]:
    """Interrupt a run at one to three moments, resume it to the end, and compare."""
    generator = random.Random(f"{seed} {number}")
    folder = base / f"run{number:03d}"
    folder.mkdir()
    moments = []
    for _ in range(generator.choice((1, 1, 2, 3))):
        aim = generator.choice(("any", "any", "save", "evaluation"))
        seconds = generator.uniform(0, {"any": 5, "save": 0.3, "evaluation": 0.3}[aim])
        signum = generator.choice((signal.SIGKILL, signal.SIGKILL, *STOPS))
        status = interrupt(folder, aim, seconds, signum)
        moments.append(f"{signal.Signals(signum).name} {aim}+{seconds:.2f}s -> {status}")
        # Numbers of shells: 128 and the signal; 0 where the run was over by then.
        expected = (0, -signum) if signum == signal.SIGKILL else (0, 128 + signum)
        if status not in expected:
            return ", ".join(moments), f"status {status}", "BAD"
    process = start(folder, "--resume")
    errors = process.communicate(timeout=PATIENCE)[1]
    if process.returncode:
        return ", ".join(moments), f"resuming ends with {errors.strip()[-200:]}", "BAD"
    difference = compare(base / "whole/run", folder / "run")
    return ", ".join(moments), difference or "equal", "BAD" if difference else "good"


def campaign(number: int, seed: int, jobs: int, base: Path) -> Iterator[tuple[str, str, str]]:
    """Yield case, what was seen, and the verdict; runs are in `base`."""
    (base / "whole").mkdir()
    process = start(base / "whole")
    errors = process.communicate()[1]
    if process.returncode:
        raise SystemExit(f"The run that nothing interrupts fails: {errors}")
    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(lambda n: play(n, seed, base), range(number))
