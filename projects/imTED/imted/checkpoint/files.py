"""Checkpoint files to state dicts and back, without executing code."""

import argparse
import json
import os
import pickle
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.utils.file_io import PathManager
from iopath.common.file_io import get_cache_dir
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from imted.errors import UserError, first_line
from imted.modeling import MaskedAutoencoder
from imted.modeling.migration import to_mae
from imted.outputs import output_file, write_json
from imted.run_folder import FINAL, MAE

from .description import KEY, Description, parse_metadata
from .huggingface import (
    WEIGHT_FILES,
    describe_model,
    is_huggingface,
    to_huggingface_layout,
    to_official_layout,
)
from .pickled import load_arrays


def _scalar_of(module: str) -> Callable[..., Any]:
    """Return what makes a NumPy number, by the name that NumPy 1 or NumPy 2 writes for it."""
    reduced: Any = np.float64(0).__reduce__()
    make = reduced[0]

    def scalar(kind: np.dtype, data: bytes) -> Any:
        return make(kind, data)

    scalar.__module__, scalar.__qualname__ = module, "scalar"
    return scalar


# Values that checkpoints carry beside tensors, and that are made without executing code: the
# command line of MAE's training, and NumPy's numbers among what mmdetection notes of a run.
_PLAIN_VALUES: list[Any] = [
    argparse.Namespace,
    *(_scalar_of(f"numpy.{core}.multiarray") for core in ("core", "_core")),
    np.dtype,
    *(type(np.dtype(kind)) for kind in (np.bool_, np.int32, np.int64, np.float32, np.float64)),
]

_UNREADABLE = (
    *(SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError),
    *(ValueError, KeyError, TypeError, AttributeError, IndexError, ImportError),
)
"""What the readers raise for files that are torn or something else."""


def read_state_dict(
    path: str, averaged: bool = False, field: str = "train.init_checkpoint"
) -> dict[str, torch.Tensor]:
    """Read the weights in a ``.safetensors`` or torch file.

    Args:
        path: A path or any URL that iopath reads, hf://OWNER/NAME for a model of Hugging Face's
            hub, or the folder of one, or of a training: its MAE, or its final weights.
        averaged: Read the average that a training with `train.ema` keeps beside its weights.
        field: What names the path, for messages.

    Returns:
        The state dict; a wrapping ``{"model": …}`` or ``{"state_dict": …}`` is taken off, and a
        ViT MAE of transformers' has the names of MAE's own files.

    Raises:
        UserError: If the file is missing, is no checkpoint, holds no average when that is wanted,
            or would have to execute code.
    """
    content: Any = _read(path, field, _load)
    if not isinstance(content, dict):
        content = {}
    if averaged and "ema" not in content:
        advice = "; add train.ema.enabled=false" if field == "train.init_checkpoint" else ""
        raise UserError(f"{path} ({field}) holds no averaged weights{advice}.")
    for wrapper in ("ema",) if averaged else ("model", "state_dict"):
        if isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    weights = {
        key: value
        for key, value in content.items()
        if isinstance(key, str) and isinstance(value, torch.Tensor)
    }
    if not weights:
        raise UserError(f"{path} ({field}) holds no weights; give a checkpoint.")
    weights = _without_wrappers(weights)
    return to_official_layout(weights) if is_huggingface(weights) else weights


def read_description(path: str, field: str = "train.init_checkpoint") -> Description | None:
    """Read what a detector's file says of itself; the weights stay on the disk.

    Args:
        path: See `read_state_dict`.
        field: What names the path, for messages.

    Returns:
        None for a file that says nothing: one of an earlier version or of another program.

    Raises:
        UserError: If the file is missing or no checkpoint, or what it says can't be read.
    """
    said = _read(path, field, _load_metadata)
    if isinstance(said, Mapping) and KEY in said:
        return Description.from_dict(said[KEY], path)
    return None


def _load(local: str) -> Any:
    if local.endswith(".safetensors"):
        return load_file(local)
    if local.endswith(".pkl"):
        with open(local, "rb") as file:
            return load_arrays(file)
    return load_torch(local)


def _load_metadata(local: str) -> Any:
    """Return what a file has beside its weights, which stay on the disk where they can."""
    if local.endswith(".safetensors"):
        with safe_open(local, framework="pt") as file:
            return parse_metadata(file.metadata())
    return _load(local) if local.endswith(".pkl") else load_torch(local, mmap=True)


def _read(path: str, field: str, load: Callable[[str], Any]) -> Any:
    """Read a file; one that was fetched earlier and is no checkpoint is fetched once more.

    A server that is out of order sends a page of HTML, and it stays in the cache.
    """
    local = _local_file(path, field)
    cached = Path(get_cache_dir()).resolve() in Path(local).resolve().parents
    try:
        return load(local)
    except _UNREADABLE:
        if not cached:
            raise _unreadable(path, field) from None
    os.remove(local)
    local = _local_file(path, field)
    try:
        return load(local)
    except _UNREADABLE:
        raise _unreadable(path, field, f" (fetched again into {local})") from None


def _without_wrappers(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Take off what DistributedDataParallel and torch.compile put before every name."""
    for prefix in _WRAPPERS:
        if all(key.startswith(prefix) for key in weights):
            stripped = {key.removeprefix(prefix): value for key, value in weights.items()}
            return _without_wrappers(stripped)
    return weights


_WRAPPERS = ("module.", "_orig_mod.")
_PATIENCE = 60.0
"""Seconds of a server's silence after which a fetch has failed."""


def _local_file(path: str, field: str) -> str:
    patience = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_PATIENCE)  # iopath's download has no limit of its own
    try:
        local = PathManager.get_local_path(path)
    except Exception as error:  # whatever a URL handler raises, the user's part is the same
        raise UserError(f"{path} ({field}) cannot be fetched: {first_line(error)}") from None
    finally:
        socket.setdefaulttimeout(patience)
    if Path(local).is_dir():
        found = [name for name in (*WEIGHT_FILES, MAE, FINAL) if Path(local, name).is_file()]
        if not found:
            raise UserError(f"{path} ({field}) is a folder; name the file in it.")
        local = os.path.join(local, found[0])
    if not Path(local).is_file():
        raise UserError(f"{path} ({field}) does not exist; correct the path.")
    return str(local)


def load_torch(local: str, mmap: bool = False) -> Any:
    """Read a torch file of tensors and plain values, without executing code.

    Args:
        local: Its path.
        mmap: Leave the tensors on the disk.
    """
    with torch.serialization.safe_globals(_PLAIN_VALUES):
        return torch.load(local, map_location="cpu", weights_only=True, mmap=mmap)


def _unreadable(path: str, field: str, note: str = "") -> UserError:
    return UserError(
        f"{path} ({field}){note} is not a checkpoint of plain tensors, or not all of "
        "one; save or fetch it again, or give a .safetensors file or one that torch.load reads "
        "with weights_only=True."
    )


def require_finite(weights: Mapping[str, torch.Tensor], source: str) -> None:
    """Refuse weights that a training has ruined.

    Args:
        weights: Tensors by name.
        source: What holds them, the beginning of a sentence.

    Raises:
        UserError: A number is infinite or NaN.
    """
    for name, value in weights.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise UserError(
                f"{source} has weights that aren't finite ({name!r}): the training that they come "
                "of has diverged; take an earlier checkpoint, or train with a lower optimizer.lr."
            )


def save_mae(model: MaskedAutoencoder, path: str) -> None:
    """Write a masked autoencoder.

    Args:
        model: Encoder and decoder.
        path: A file gets the layout of MAE's own, see `save_state_dict`; a path without a
            suffix is a folder for transformers' ``ViTMAEForPreTraining.from_pretrained``.

    Raises:
        UserError: It can't be written.
    """
    weights = to_mae(model)
    if Path(path).suffix:
        save_state_dict(weights, path)
        return
    save_state_dict(to_huggingface_layout(weights), os.path.join(path, WEIGHT_FILES[0]))
    for name, content in describe_model(model).items():
        write_json(content, os.path.join(path, name), indent=2)


def save_state_dict(
    weights: Mapping[str, torch.Tensor], path: str, description: Description | None = None
) -> None:
    """Write weights, and what the file says of itself.

    Args:
        weights: Tensors by name.
        path: Where to; ``.safetensors`` is written as such, anything else as
            ``{"model": state_dict}`` by torch. Its folder is made if need be.
        description: What a detector's file says of itself.

    Raises:
        UserError: The file can't be written.
    """
    weights = {key: value.detach().cpu().contiguous() for key, value in weights.items()}
    said = {} if description is None else {KEY: description.to_dict()}
    try:
        with output_file(path) as partial:
            if path.endswith(".safetensors"):
                metadata = {key: json.dumps(value) for key, value in said.items()}
                save_file(weights, partial, metadata)
            else:
                with open(partial, "wb") as file:
                    torch.save({"model": weights, **said}, file)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} can't be written ({error}); name another file.") from None
