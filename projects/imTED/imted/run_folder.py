"""The folder of a run: one run at a time, nothing lost, and what killed runs leave is cleared."""

import errno
import fcntl
import json
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from imted.atomic import PARTIAL, write_text
from imted.errors import UserError

logger = logging.getLogger(__name__)

LOCK = ".lock"
_HELD = (errno.EACCES, errno.EAGAIN)
"""What the system says of a lock that another process has."""
LAST = "last_checkpoint"
WANDB_ID = "wandb_id.txt"
"""Names the run on Weights & Biases, so that `--resume` goes on with it."""
METRICS = "metrics.json"
CHECKPOINTS = (
    *(LAST, "model_final.pth", "model_best.pth", "model_stopped.pth"),
    f"model_{'[0-9]' * 7}.pth",
)
RESULTS = (METRICS, "model_best.json", "mae_final.safetensors", "results.json")
RECORDS = (
    *("log.txt*", "events.out.tfevents.*", "config.yaml", WANDB_ID),
    *("datasets/train.json", "datasets/val.json"),  # repaired copies
)


@contextmanager
def locked(folder: str) -> Iterator[None]:
    """Keep every other process from running in a folder; the lock ends with the process.

    Raises:
        UserError: Another process has it.
    """
    path = os.path.join(folder, LOCK)
    # A record lock: unlike flock's, it isn't inherited by the processes that load images, which
    # may outlive a run that was killed.
    with open(path, "a+", encoding="utf-8") as file:
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
        with open(os.path.join(folder, LOCK), "r+", encoding="utf-8") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError as error:
        return error.errno in _HELD
    return False


def prepare(folder: str, resume: bool, overwrite: bool) -> None:
    """Guard a run that is in a folder, and clear what a killed process has left half written.

    Args:
        folder: The folder of the new run, or of the one to resume; locked.
        resume: Whether to continue a run.
        overwrite: Whether a new run takes the place of an old one, whose files are removed.

    Raises:
        UserError: A new run would mix with an old one, or it isn't said from which checkpoint to
            resume.
    """
    for partial in Path(folder).glob(f"*{PARTIAL}"):
        partial.unlink()
    checkpoints = sorted(path.name for path in _matches(folder, CHECKPOINTS))
    if resume:
        if checkpoints and not read_last(folder):
            raise UserError(
                f"{folder} (train.output_dir) has {checkpoints[-1]} but no {LAST} that names the "
                "checkpoint to resume from; write the file's name into it, or remove the old "
                "checkpoints."
            )
        return
    old = _matches(folder, (*CHECKPOINTS, *RESULTS))
    if not old:
        return
    if not overwrite:
        raise UserError(
            f"{folder} (train.output_dir) holds a run ({old[0].name}); continue it with --resume, "
            "name another folder, or let the new run take its place with train.overwrite=true."
        )
    for path in _matches(folder, (*CHECKPOINTS, *RESULTS, *RECORDS)):
        path.unlink()


def read_last(folder: str) -> str:
    """Return the name of the checkpoint to resume from, "" if there is none."""
    try:
        return Path(folder, LAST).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""


def read_metrics(folder: str) -> list[dict[str, Any]]:
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
