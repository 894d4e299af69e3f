"""The folder of a run: its files by name and their readers, and one run at a time in it."""

import errno
import fcntl
import json
import logging
import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from imted.atomic import PARTIAL, read_json, write_text
from imted.errors import UserError

logger = logging.getLogger(__name__)

CONFIG = "config.yaml"  # what ran, and can be run again
LOG = "log.txt"
METRICS = "metrics.json"  # losses and evaluations as they come, a JSON object a line
RESULTS = "results.json"  # the latest evaluation: {"bbox": {"AP": …}, …} in percent
PREDICTIONS = "inference/coco_instances_results.json"  # what was found in it, as COCO's results
FINAL = "model_final.pth"  # the weights that a finished run is represented by
BEST = "model_best.pth"
BEST_RECORD = "model_best.json"  # how good they are: {"metric", "value", "iteration"}
STOPPED = "model_stopped.pth"  # saved out of turn at a signal; the next checkpoint replaces it
LAST = "last_checkpoint"  # names the checkpoint that `--resume` continues from
MAE = "mae_final.safetensors"  # what pre-training has learnt
REPAIRED = "datasets/{split}.json"  # the repaired copy of a json of the data set
WANDB_ID = "wandb_id.txt"  # names the run on Weights & Biases, for `--resume`

REPLACED = ".replaced_run"  # the run whose place a new one takes, until that has a checkpoint

_LOCK = ".lock"
_HELD = (errno.EACCES, errno.EAGAIN)
"""What the system says of a lock that another process has."""
_CHECKPOINTS = (LAST, FINAL, BEST, STOPPED, f"model_{'[0-9]' * 7}.pth")
_OUTCOMES = (METRICS, BEST_RECORD, MAE, RESULTS)
_RECORDS = (CONFIG, WANDB_ID, *(REPAIRED.format(split=split) for split in ("train", "val")))
_LOGS = (f"{LOG}*", "events.out.tfevents.*")  # written on, where they are there
_ALL = (*_CHECKPOINTS, *_OUTCOMES, *_RECORDS, *_LOGS)
Folder = str | os.PathLike[str]


@contextmanager
def locked(folder: str) -> Iterator[None]:
    """Keep every other process from running in a folder; the lock ends with the process.

    Raises:
        UserError: Another process has it.
    """
    # A record lock: unlike flock's, it isn't inherited by the processes that load images, which
    # may outlive a run that was killed.
    with open(os.path.join(folder, _LOCK), "a+", encoding="utf-8") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _HELD:
                logger.warning("%s can't be locked (%s): see that one run uses it.", folder, error)
                yield
                return
            file.seek(0)
            owner = file.read().strip() or "another process"
            raise UserError(
                f"{folder} (train.output_dir) is in use by {owner}; name another folder, or wait "
                "until it has ended."
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


def in_use(folder: str) -> bool:
    """Tell whether another process runs in a folder, as `locked` would refuse."""
    try:
        with open(os.path.join(folder, _LOCK), "r+", encoding="utf-8") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:  # without the file, nobody does
        return error.errno in _HELD
    return False


def refuse_others(folder: str, config_file: str) -> None:
    """Raise a UserError if a folder that holds no run has a file that one would replace.

    Args:
        folder: The folder of a new run, or of an evaluation.
        config_file: What it reads: a run's config.yaml that has come here alone is a run's.
    """
    if _matches(folder, (LOG, *_CHECKPOINTS)):
        return
    for path in _matches(folder, (*_OUTCOMES, *_RECORDS)):
        if not (os.path.exists(config_file) and path.samefile(config_file)):
            raise UserError(
                f"{folder} (train.output_dir) holds no run, but {path.relative_to(folder)}, which "
                "a run would replace; name another folder."
            )


def prepare(
    folder: str, resume: bool, overwrite: bool, reads: Mapping[str, str] | None = None
) -> None:
    """Guard a run that is in a folder, and clear what a killed process has left half written.

    Args:
        folder: The folder of the new run, or of the one to resume; locked.
        resume: Whether to continue a run.
        overwrite: Whether a new run takes the place of an old one, whose files are set aside:
            `forget_replaced` removes them, `restore_replaced` brings them back.
        reads: Paths that the new run reads, by the fields that name them.

    Raises:
        UserError: A new run would mix with an old one or replace what it reads, or it isn't said
            from which checkpoint to resume.
    """
    for partial in _matches(folder, tuple(f"{name}{PARTIAL}" for name in _ALL)):
        partial.unlink()
    checkpoints = sorted(path.name for path in _matches(folder, _CHECKPOINTS))
    if resume:
        if checkpoints and not read_last(folder):
            raise UserError(
                f"{folder} (train.output_dir) has {checkpoints[-1]} but no {LAST} that names the "
                "checkpoint to resume from; write the file's name into it, or remove the old "
                "checkpoints."
            )
        return
    old = _matches(folder, (*_CHECKPOINTS, *_OUTCOMES))
    if not old:
        return
    if not overwrite:
        raise UserError(
            f"{folder} (train.output_dir) holds a run ({old[0].name}); continue it with --resume, "
            "name another folder, or let the new run take its place with train.overwrite=true."
        )
    files = _matches(folder, _ALL)
    own = [Path(folder), *files]
    for field, path in (reads or {}).items():
        if os.path.exists(path) and any(os.path.samefile(path, file) for file in own):
            raise UserError(
                f"{path} ({field}) is a file of the run that train.overwrite=true replaces; name "
                "another train.output_dir, or copy the file elsewhere first."
            )
    aside = Path(folder, REPLACED)
    attempt = aside.is_dir() and not checkpoints  # the latest one left no checkpoint
    for file in files:
        if attempt:
            file.unlink()
        else:
            _move(file, aside / file.relative_to(folder))


def restore_replaced(folder: Folder) -> None:
    """Bring back the run that a new one was to replace, which has come to nothing."""
    aside = Path(folder, REPLACED)
    for file in [path for path in aside.rglob("*") if path.is_file()]:
        _move(file, Path(folder, file.relative_to(aside)))
    shutil.rmtree(aside, ignore_errors=True)


def forget_replaced(folder: Folder) -> None:
    """Remove the run that a new one has replaced: this has a checkpoint of its own."""
    shutil.rmtree(Path(folder, REPLACED), ignore_errors=True)


def _move(file: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    file.replace(target)


def read_last(folder: Folder) -> str:
    """Return the name of the checkpoint to resume from, "" if there is none."""
    try:
        return Path(folder, LAST).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""


def find_weights(folder: Folder) -> str:
    """Return the path of a run's weights: the final ones, or the latest saved.

    Raises:
        UserError: There are none.
    """
    for name in (FINAL, read_last(folder)):
        path = os.path.join(folder, name)
        if os.path.isfile(path):
            return path
    raise UserError(f"{folder} holds no {FINAL} or another checkpoint; train there first.")


def read_best(folder: Folder) -> dict[str, Any] | None:
    """Return the metric, value and iteration of the best weights; None where nothing is recorded.

    Raises:
        UserError: The record isn't readable.
    """
    path = os.path.join(folder, BEST_RECORD)
    if not os.path.isfile(path):
        return None
    try:
        record = read_json(path)
        return {key: record[key] for key in ("metric", "value", "iteration")}
    except (UserError, TypeError, KeyError) as error:
        raise UserError(
            f"{path} isn't readable ({error}); remove it to start looking for the best weights "
            "anew."
        ) from error


def read_results(folder: Folder) -> dict[str, dict[str, float | None]]:
    """Return the metrics of a run's latest evaluation by task; None is a metric without objects.

    Raises:
        UserError: There is no such file, or something else is in it.
    """
    path = os.path.join(folder, RESULTS)
    results = read_json(path)
    try:
        values = [value for metrics in results.values() for value in metrics.values()]
    except AttributeError:  # of what is no dict of dicts
        values = [path]
    if not all(value is None or isinstance(value, int | float) for value in values):
        raise UserError(f"{path} is not a {RESULTS} of this project; name a run's own.")
    return results


def read_metrics(folder: Folder) -> list[dict[str, Any]]:
    """Read metrics.json, a JSON object a line; a last line that is torn is left out."""
    path = Path(folder, METRICS)
    if not path.is_file():
        return []
    records = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            records.append(record)
    return records


def keep_metrics(folder: str, before: int) -> list[dict[str, Any]]:
    """Remove from metrics.json what a resumed run will do again.

    Args:
        folder: The run's folder.
        before: The first iteration that is done again.

    Returns:
        What is left.
    """
    records = read_metrics(folder)
    kept = [record for record in records if record.get("iteration", before) < before]
    path = Path(folder, METRICS)
    if path.is_file():
        write_text("".join(json.dumps(r, sort_keys=True) + "\n" for r in kept), path)
    return kept


def _matches(folder: str, patterns: tuple[str, ...]) -> list[Path]:
    return [path for pattern in patterns for path in sorted(Path(folder).glob(pattern))]
