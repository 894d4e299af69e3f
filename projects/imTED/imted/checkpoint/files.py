"""Checkpoint files to state dicts and back, without executing code."""

import argparse
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.utils.file_io import PathManager
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from imted.errors import UserError
from imted.modeling import MaskedAutoencoder

# Values that checkpoints carry beside tensors, and that are made without executing code: the
# command line of MAE's training, and NumPy's numbers among what mmdetection notes of a run.
_PLAIN_VALUES = [
    argparse.Namespace,
    np.core.multiarray.scalar,  # type: ignore[attr-defined]  # absent from NumPy's stubs
    np.dtype,
    *(type(np.dtype(kind)) for kind in (np.bool_, np.int32, np.int64, np.float32, np.float64)),
]

_UNREADABLE = (
    *(SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError),
    *(ValueError, KeyError),
)
"""What the readers raise for files that are torn or something else."""


def read_state_dict(
    path: str, averaged: bool = False, field: str = "train.init_checkpoint"
) -> dict[str, torch.Tensor]:
    """Read the weights in a ``.safetensors`` or torch file.

    Args:
        path: A path or any URL that iopath reads.
        averaged: Read the average that a training with `train.ema` keeps beside its weights.
        field: What names the path, for messages.

    Returns:
        The state dict; a wrapping ``{"model": …}`` or ``{"state_dict": …}`` is taken off.

    Raises:
        UserError: If the file is missing, is no checkpoint, holds no average when that is wanted,
            or would have to execute code.
    """
    try:
        local = PathManager.get_local_path(path)
    except Exception as error:  # whatever a URL handler raises, the user's part is the same
        raise UserError(f"{path} ({field}) cannot be fetched: {error}") from None
    if Path(local).is_dir():
        raise UserError(f"{path} ({field}) is a folder; name the file in it.")
    if not Path(local).is_file():
        raise UserError(f"{path} ({field}) does not exist; correct the path.")
    try:
        if str(local).endswith(".safetensors"):
            content: Any = load_file(local)
        else:
            with torch.serialization.safe_globals(_PLAIN_VALUES):
                content = torch.load(local, map_location="cpu", weights_only=True)
    except _UNREADABLE:
        raise UserError(
            f"{path} ({field}) is not a checkpoint of plain tensors, or not all of "
            "one; save or fetch it again, or give a .safetensors file or one that torch.load reads "
            "with weights_only=True."
        ) from None
    if not isinstance(content, dict):
        content = {}
    if averaged and "ema" not in content:
        raise UserError(f"{path} holds no averaged weights; add train.ema.enabled=false.")
    for wrapper in ("ema",) if averaged else ("model", "state_dict"):
        if isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    weights = {key: value for key, value in content.items() if isinstance(value, torch.Tensor)}
    if not weights:
        raise UserError(f"{path} ({field}) holds no weights; give a checkpoint.")
    return weights


def save_mae(model: MaskedAutoencoder, path: str) -> None:
    """Write encoder and decoder in the official MAE layout; see :func:`save_state_dict`."""
    save_state_dict(model.official_state_dict(), path)


def save_state_dict(weights: Mapping[str, torch.Tensor], path: str) -> None:
    """Write weights.

    Args:
        weights: Tensors by name.
        path: Where to; ``.safetensors`` is written as such, anything else as
            ``{"model": state_dict}`` by torch. Its folder is made if need be.

    Raises:
        UserError: The file can't be written.
    """
    weights = {key: value.detach().cpu().contiguous() for key, value in weights.items()}
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        if path.endswith(".safetensors"):
            save_file(weights, path)
        else:
            with open(path, "wb") as file:
                torch.save({"model": weights}, file)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} can't be written ({error}); name another file.") from None
