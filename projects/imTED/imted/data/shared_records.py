"""A data set that the processes of a machine read once, and hold once."""

import os
import pickle
import tempfile
from collections.abc import Callable, Sequence
from typing import Any, overload

import numpy as np
import torch
from detectron2.utils import comm

from imted.errors import UserError
from imted.processes import on_first_of_machine


class SharedRecords(Sequence[dict]):
    """A list of dicts as bytes in a file that is mapped into memory.

    COCO's training set is 4 GB of Python objects and half a GB of bytes: eight processes share the
    latter, and so do the processes that load images.
    """

    def __init__(self, path: str) -> None:
        """Map what `write` has written; the file's name may go afterwards."""
        stored = torch.load(path, mmap=True, weights_only=True)
        self._bytes: torch.Tensor = stored["bytes"]
        self._ends: torch.Tensor = stored["ends"]

    @staticmethod
    def write(records: Sequence[dict], path: str) -> None:
        """Write records to a file."""
        parts = [np.frombuffer(pickle.dumps(record, protocol=-1), np.uint8) for record in records]
        ends = torch.tensor([len(part) for part in parts]).cumsum(0)
        torch.save({"bytes": torch.from_numpy(np.concatenate(parts)), "ends": ends}, path)

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> dict: ...
    @overload
    def __getitem__(self, index: slice) -> list[dict]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        index = range(len(self))[index]
        start = int(self._ends[index - 1]) if index else 0
        raw: Any = self._bytes[start : int(self._ends[index])].numpy()
        return pickle.loads(raw)


def load_once(load: Callable[[], list[dict]]) -> Sequence[dict]:
    """Let one process of each machine load a data set, and the others share it.

    All processes of a distributed run must call this. A single one keeps its list.

    Args:
        load: Returns the data set; at least one record.

    Raises:
        UserError: `load` raised it, or there is no room for the file; on every process.
    """

    def write() -> str:
        records = load()
        number, path = tempfile.mkstemp(prefix="imted_records_")
        os.close(number)
        try:
            SharedRecords.write(records, path)
        except (OSError, RuntimeError) as error:  # torch's writer hides the system's error
            os.unlink(path)
            raise UserError(
                f"{path} can't be written ({error}); make room there, or set TMPDIR to a folder "
                "that has some."
            ) from error
        return path

    if comm.get_world_size() == 1:
        return load()
    path = on_first_of_machine(write)
    try:
        shared = SharedRecords(path)
        comm.synchronize()
    finally:
        if comm.get_local_rank() == 0:
            os.unlink(path)
    return shared
