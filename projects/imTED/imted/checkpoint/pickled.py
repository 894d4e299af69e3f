"""Detectron2's .pkl files, of which no code is run."""

import pickle
from typing import IO, Any

import torch

_ALLOWED = {
    *(("numpy", name) for name in ("dtype", "ndarray")),
    *((f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")),
    *((f"numpy.{core}.multiarray", "scalar") for core in ("core", "_core")),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
    ("collections", "OrderedDict"),
    ("_codecs", "encode"),  # of bytes, in files of Python 2
}
"""What arrays in a dict are made of."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} is no part of an array")
        return super().find_class(module, name)


def load_arrays(file: IO[bytes]) -> Any:
    """Read a pickle of arrays, as Detectron2's model zoo has them; arrays become tensors.

    Raises:
        pickle.UnpicklingError: It holds something else, or is torn.
    """
    content = _Unpickler(file, encoding="latin1").load()
    return _to_tensors(content, depth=2)


def _to_tensors(value: Any, depth: int) -> Any:
    """Convert the arrays in a dict and in the dicts in it: deeper, there are no weights."""
    if isinstance(value, dict) and depth:
        return {key: _to_tensors(item, depth - 1) for key, item in value.items()}
    return torch.from_numpy(value) if hasattr(value, "__array__") and value.ndim else value
