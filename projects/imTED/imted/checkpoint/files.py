"""Checkpoint files to state dicts and back, without executing code."""

import argparse
import pickle
from pathlib import Path

import torch
from detectron2.utils.file_io import PathManager
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from imted.errors import UserError
from imted.modeling import MaskedAutoencoder


def read_state_dict(path: str, averaged: bool = False) -> dict[str, torch.Tensor]:
    """Read the weights in a ``.safetensors`` or torch file.

    Args:
        path: A path or any URL that iopath reads.
        averaged: Read the average that a training with `train.ema` keeps beside its weights.

    Returns:
        The state dict; a wrapping ``{"model": …}`` or ``{"state_dict": …}`` is taken off.

    Raises:
        UserError: If the file is missing, is no checkpoint, holds no average when that is wanted,
            or would have to execute code.
    """
    try:
        local = PathManager.get_local_path(path)
    except Exception as error:  # whatever a URL handler raises, the user's part is the same
        raise UserError(f"{path} (train.init_checkpoint) cannot be fetched: {error}") from None
    if not Path(local).is_file():
        raise UserError(f"{path} (train.init_checkpoint) does not exist; correct the path.")
    try:
        if str(local).endswith(".safetensors"):
            content = load_file(local)
        else:
            # Official MAE training checkpoints carry their command line, a Namespace of values.
            with torch.serialization.safe_globals([argparse.Namespace]):
                content = torch.load(local, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError):
        raise UserError(
            f"{path} (train.init_checkpoint) is not a checkpoint of plain tensors; give a "
            ".safetensors file or one that torch.load reads with weights_only=True."
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
        raise UserError(f"{path} (train.init_checkpoint) holds no weights; give a checkpoint.")
    return weights


def save_mae(model: MaskedAutoencoder, path: str) -> None:
    """Write encoder and decoder in the official MAE layout.

    Args:
        model: The masked autoencoder.
        path: Where to; ``.safetensors`` is written as such, anything else as
            ``{"model": state_dict}`` by torch.
    """
    weights = {
        key: value.detach().cpu().contiguous() for key, value in model.official_state_dict().items()
    }
    if path.endswith(".safetensors"):
        save_file(weights, path)
    else:
        torch.save({"model": weights}, path)
