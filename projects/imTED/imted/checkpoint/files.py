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


def read_state_dict(path: str) -> dict[str, torch.Tensor]:
    """Read the weights in a ``.safetensors`` or torch file.

    Args:
        path: A path or any URL that iopath reads.

    Returns:
        The state dict; a wrapping ``{"model": …}`` or ``{"state_dict": …}`` is taken off.

    Raises:
        UserError: If the file is missing, is no checkpoint, or would have to execute code.
    """
    try:
        local = PathManager.get_local_path(path)
    except Exception as error:  # whatever a URL handler raises, the user's part is the same
        raise UserError(f"{path} (train.init_checkpoint) cannot be fetched: {error}") from None
    if not Path(local).is_file():
        raise UserError(f"{path} (train.init_checkpoint) does not exist; correct the path.")
    try:
        if str(local).endswith(".safetensors"):
            return load_file(local)
        # Official MAE training checkpoints carry their command line, plain values in a Namespace.
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(local, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError):
        raise UserError(
            f"{path} (train.init_checkpoint) is not a checkpoint of plain tensors; give a "
            ".safetensors file or one that torch.load reads with weights_only=True."
        ) from None
    for wrapper in ("model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict):
        content = {}
    weights = {key: value for key, value in content.items() if isinstance(value, torch.Tensor)}
    if not weights:
        raise UserError(f"{path} (train.init_checkpoint) holds no weights; give a checkpoint.")
    return weights


def save_mae(model: MaskedAutoencoder, path: str, dtype: torch.dtype | None = None) -> None:
    """Write encoder and decoder in the official MAE layout.

    Args:
        model: The masked autoencoder.
        path: Where to; ``.safetensors`` is written as such, anything else as
            ``{"model": state_dict}`` by torch.
        dtype: Type to store, such as ``torch.float16``; as it is if not given.
    """
    weights = {
        key: value.detach().to("cpu", dtype).contiguous()
        for key, value in model.official_state_dict().items()
    }
    if path.endswith(".safetensors"):
        save_file(weights, path)
    else:
        torch.save({"model": weights}, path)
