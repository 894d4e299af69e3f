"""Running a sweep's trainings through submitit: on this machine's GPUs or cores, or on Slurm."""

import logging
import os
import re
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch

from imted.errors import UserError
from imted.extras.sweep.runs import PlannedRun
from imted.run_folder import read_last, read_metrics

# Slurm warns a job with the signal at which a run saves and ends; submitit then puts it back into
# the queue. Read at its import, here and in each job.
os.environ["SUBMITIT_PREEMPT_SIGNAL"] = "USR1"
import submitit

FOREVER = 60 * 24 * 365
"""Minutes after which submitit ends a job of this machine."""
DAY = 24 * 60
"""Minutes after which Slurm ends a job, and it comes back, unless another time is given."""
NOTICE = 120
"""Seconds before that, in which a run saves."""
LOOKS = 1.0
"""Seconds between two looks at the jobs."""
PATIENCE = 60.0
"""Seconds in which a job that is to stop saves what it has."""

Ended = tuple[PlannedRun, str | None]
"""A run, and what went wrong with it."""


@dataclass(frozen=True)
class Slot:
    """A part of this machine that one run has for itself.

    Attributes:
        gpus: Their names, as CUDA_VISIBLE_DEVICES takes them; None leaves them as they are.
        cores: Numbers of its CPU cores; none leaves them as they are.
    """

    gpus: str | None = None
    cores: tuple[int, ...] = ()


@dataclass(frozen=True)
class Training:
    """A run as a job: it resumes what its folder holds.

    Attributes:
        words: The words of train_net.py's command line.
        folder: The run's folder.
        slot: Where it runs.
    """

    words: tuple[str, ...]
    folder: str
    slot: Slot = Slot()

    def __call__(self) -> int:
        """Run the command line and return its status."""
        if self.slot.gpus is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = self.slot.gpus
        if self.slot.cores:
            os.sched_setaffinity(0, self.slot.cores)
        from imted.training.launcher import main

        begun = read_last(self.folder) or read_metrics(self.folder)
        status = main([*(["--resume"] if begun else []), *self.words])
        if status == 128 + signal.SIGUSR1:  # all is saved: submitit's own handler comes next
            signal.raise_signal(signal.SIGUSR1)
        return status

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        """Return what to do after a requeue: the same; submitit calls this."""
        return submitit.helpers.DelayedSubmission(self)


def slots_here(jobs: int | None, num_gpus: int) -> list[Slot]:
    """Divide this machine: a slot for each group of GPUs, or where there are none, of cores.

    Args:
        jobs: Slots; None takes as many as there can be.
        num_gpus: GPUs of a run; 0 hides them.

    Raises:
        UserError: There can't be as many.
    """
    if num_gpus and torch.cuda.device_count():
        names = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        if names == [""]:
            names = [str(number) for number in range(torch.cuda.device_count())]
        groups = [names[i : i + num_gpus] for i in range(0, len(names), num_gpus)]
        slots = [Slot(",".join(group)) for group in groups if len(group) == num_gpus]
    else:
        cores = sorted(os.sched_getaffinity(0))
        number = min(jobs or len(cores), len(cores))
        share = len(cores) // number
        slots = [Slot("", tuple(cores[i * share : (i + 1) * share])) for i in range(number)]
    if not slots or (jobs or 0) > len(slots):
        raise UserError(
            f"--jobs {jobs or 1} with --num-gpus {num_gpus} needs more than this machine has: at "
            f"most {len(slots)} run at once."
        )
    return slots[:jobs]


def run_here(
    runs: Sequence[PlannedRun], slots: Sequence[Slot], folder: str, tick: Callable[[], None]
) -> Iterator[Ended]:
    """Run trainings on this machine, as many at a time as there are slots, and yield as they end.

    Whatever ends the loop early stops them: each saves what it has.

    Args:
        runs: What to run.
        slots: Where.
        folder: Where submitit keeps its files.
        tick: Is called every second.
    """
    if slots[0].cores:  # else each run would start a thread for every core
        os.environ["OMP_NUM_THREADS"] = str(len(slots[0].cores))
    executor = submitit.LocalExecutor(folder)
    executor.update_parameters(timeout_min=FOREVER)
    waiting, free = deque(runs), list(slots)
    running: dict[submitit.Job[int], tuple[PlannedRun, Slot]] = {}
    try:
        while waiting or running:
            while waiting and free:
                run, slot = waiting.popleft(), free.pop(0)
                running[_start(executor, Training(run.words, run.folder, slot))] = run, slot
            for job in [job for job in running if job.done()]:
                run, slot = running.pop(job)
                free.append(slot)
                yield run, failure(job)
            tick()
            time.sleep(LOOKS)
    finally:
        _stop(list(running))


def run_on_slurm(
    runs: Sequence[PlannedRun],
    folder: str,
    tick: Callable[[], None],
    *,
    jobs: int | None,
    num_gpus: int,
    options: dict[str, Any],
) -> Iterator[Ended]:
    """Run trainings as an array of Slurm jobs, and yield as they end.

    A job that Slurm warns (preemption, its time limit) saves, goes back into the queue and
    resumes. Whatever ends the loop early cancels the jobs.

    Args:
        runs: What to run.
        folder: Where submitit keeps its files.
        tick: Is called every second.
        jobs: How many at a time; None leaves that to Slurm.
        num_gpus: GPUs for each run; 0 for none.
        options: Options of sbatch, such as `partition`, without which Slurm's defaults hold.

    Raises:
        UserError: Slurm isn't there or refuses the jobs.
    """
    try:
        logging.getLogger("submitit").setLevel(logging.ERROR)  # of sacct, where there is none
        executor = submitit.SlurmExecutor(folder, max_num_timeout=10_000)
        executor.update_parameters(
            job_name="imted",
            time=DAY,
            signal_delay_s=NOTICE,
            array_parallelism=jobs or len(runs),
            additional_parameters=options,
        )
        if num_gpus:
            executor.update_parameters(gpus_per_node=num_gpus)
        with executor.batch():
            jobs_of = [executor.submit(Training(run.words, run.folder)) for run in runs]
    except (RuntimeError, ValueError, submitit.core.utils.FailedJobError) as error:
        raise UserError(f"Slurm refuses the sweep: {_last_line(str(error))}") from error
    running = dict(zip(jobs_of, runs, strict=True))
    try:
        while running:
            for job in [job for job in running if job.done()]:
                yield running.pop(job), failure(job)
            tick()
            time.sleep(LOOKS)
    finally:
        for job in running:
            job.cancel(check=False)


def failure(job: "submitit.Job[int]") -> str | None:
    """Say in one sentence why a job has failed; None if it hasn't."""
    errors = job.stderr() or ""
    sentences = re.findall(r"^error: (.+)$", errors, re.MULTILINE)
    try:
        status = job.result()
    except Exception as error:  # whatever the training raised, or that it has left no result
        reason = _last_line(str(error))
        if isinstance(error, submitit.core.utils.UncompletedJobError):
            reason = "ended from outside without a result (killed, or for want of memory)"
        return f"{sentences[-1] if sentences else reason}; see {job.paths.stderr}"
    if status == 0:
        return None
    return sentences[-1] if sentences else f"status {status}: {_last_line(errors)}"


def _start(executor: submitit.LocalExecutor, training: Training) -> "submitit.Job[int]":
    """Start a job that a Ctrl-C at the terminal reaches through this process alone.

    Submitit would kill it after a second, while it saves.
    """
    former = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return executor.submit(training)
    finally:
        signal.signal(signal.SIGINT, former)


def _stop(jobs: Sequence["submitit.Job[int]"]) -> None:
    """Let jobs of this machine save and end; who does not in time is ended."""
    for _ in range(2):  # the first may come while the training isn't there yet to hear it
        for job in jobs:
            _signal(job, signal.SIGTERM)
        end = time.monotonic() + PATIENCE
        while any(not job.done() for job in jobs) and time.monotonic() < end:
            time.sleep(0.1)
    for job in jobs:
        _signal(job, signal.SIGKILL)


def _signal(job: "submitit.Job[int]", signum: int) -> None:
    """Signal the process that looks after a job, which hands it on."""
    if not job.done():
        with suppress(ProcessLookupError):
            os.kill(int(job.job_id), signum)


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "no message"
