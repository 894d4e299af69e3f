"""From a MAE checkpoint to a model's parameters: names, positions, patch size.

The names inside encoder and decoder are MAE's own, so a parameter migrates by its prefix
(`imted.modeling.parts.ModelParts.mae_key`).
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import interpolate

from imted.errors import UserError

from .parts import MODULATOR, PYRAMID, REGIONS, parts_of
from .positions import resize_position_embedding

RESIZED = "resized to the grid"
RESAMPLED = "resampled to the patch size"
STACK = re.compile(r"(.*blocks)\.\d+\.")
"""A parameter of a stack of blocks, and the stack's name."""
_BEYOND_MAE = ((PYRAMID, MODULATOR), (REGIONS,))
"""Parts that are taken together or not: the modulator reads the pyramid."""


def is_mae(weights: Iterable[str]) -> bool:
    """Tell whether weights of these names are a MAE's in the official layout."""
    return "patch_embed.proj.weight" in weights


def to_official_names(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Give a pre-training run's weights the names of the official layout; others keep theirs."""
    if "encoder.patch_embed.proj.weight" not in weights:
        return dict(weights)
    return {key.removeprefix("encoder.").removeprefix("decoder."): v for key, v in weights.items()}


@dataclass(frozen=True)
class Taken:
    """What a model takes from a checkpoint; nothing is copied yet.

    Attributes:
        values: The tensors by their names in the model, fitted to it.
        sources: Name in the model -> key in the checkpoint.
        changes: Name in the model -> what `adapt` did to its tensor, where it did.
    """

    values: dict[str, torch.Tensor]
    sources: dict[str, str]
    changes: dict[str, str]


def migrate(model: nn.Module, weights: Mapping[str, torch.Tensor], source: str) -> Taken:
    """Take from a MAE checkpoint what migrates into a model.

    Encoder and decoder have to be there. Pyramid and modulator are in a checkpoint whose regions
    were reconstructed (`imted.modeling.RegionReconstruction`); they are taken if they fit.

    Args:
        model: Any with an encoder, ours or Detectron2's.
        weights: The checkpoint, in the official layout.
        source: What the checkpoint is called in an error.

    Raises:
        UserError: The model migrates the decoder and the checkpoint has none, or see
            `take_values`.
    """
    parts = parts_of(model)
    has_decoder = any(key.startswith("decoder_blocks.") for key in weights)
    if "decoder_blocks" in parts.migrated and not has_decoder:
        raise UserError(
            f"{source} holds a MAE encoder without its decoder, which the model's {parts.decoder} "
            "is to take over; use the file with both, whose name ends in _full "
            "(mae_pretrain_vit_base_full.pth), or choose the variant random_decoder to train a "
            "random decoder knowingly."
        )
    state = model.state_dict()
    keys = {name: key for name in state if (key := parts.mae_key(name))}
    sources = dict(keys)
    for group in _BEYOND_MAE:
        own = {name: key for name, key in keys.items() if key.split(".")[0] in group}
        if not all(k in weights and weights[k].shape == state[n].shape for n, k in own.items()):
            sources = {name: key for name, key in sources.items() if name not in own}
    return take_values(state, weights, sources, source)


def to_mae(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return what `migrate` would take of a model, under the key names of MAE checkpoints."""
    mae_key = parts_of(model).mae_key
    return {key: value for name, value in model.state_dict().items() if (key := mae_key(name))}


def adapt(key: str, value: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, str]:
    """Fit a MAE's tensor to the model's grid of positions or patch size, where that is possible.

    Args:
        key: Name of the tensor, by which positions and patch kernels are known.
        value: The checkpoint's tensor.
        target: The model's.

    Returns:
        The tensor, and what was done: `RESIZED`, `RESAMPLED` or "". A tensor that
        doesn't fit otherwise is returned as it is.
    """
    if value.shape == target.shape:
        return value, ""
    if key.endswith("pos_embed") and value.ndim == target.ndim == 3:
        sides = [(tensor.shape[1] - 1) ** 0.5 for tensor in (value, target)]
        if all(side == int(side) for side in sides) and value.shape[2] == target.shape[2]:
            grid = (int(sides[1]), int(sides[1]))
            return resize_position_embedding(value.float(), grid), RESIZED
    if key.endswith("patch_embed.proj.weight") and value.shape[:2] == target.shape[:2]:
        return interpolate(value.float(), target.shape[2:], mode="bicubic"), RESAMPLED
    return value, ""


def size_message(source: str, key: str, found: tuple[int, ...], expected: str) -> str:
    """Say that a checkpoint is of another size than the model."""
    return (
        f"{source} has another size than the config's model: {key!r} is {found} in the file and "
        f"{expected} in the model; choose the config of the file's size (tiny, small, base, large "
        "or huge) or another file."
    )


def take_values(
    state: Mapping[str, torch.Tensor],
    weights: Mapping[str, torch.Tensor],
    sources: Mapping[str, str],
    source: str,
    message_for: Callable[[str], Callable[..., str]] = lambda _: size_message,
) -> Taken:
    """Take what a checkpoint has for a model, fitted to it.

    Args:
        state: The model's state dict.
        weights: The checkpoint's.
        sources: Name in the model -> key in the checkpoint.
        source: What the checkpoint is called in an error.
        message_for: Gives, for a name in the model, what says that its size is another.

    Raises:
        UserError: If a key is missing, a tensor has another size or holds integers, or the
            checkpoint has more blocks than the model.
    """
    stacks = {match.group(1) for key in sources.values() if (match := STACK.match(key))}
    taken = set(sources.values())
    for key in weights:
        if key not in taken and (match := STACK.match(key)) and match.group(1) in stacks:
            raise UserError(size_message(source, key, tuple(weights[key].shape), "absent"))
    values, changes = {}, {}
    for name, key in sources.items():
        if key not in weights:
            raise UserError(
                f"{source} is missing {key!r}, which the config's model needs; choose the config "
                "that the file was made with."
            )
        if state[name].is_floating_point() and not weights[key].is_floating_point():
            raise UserError(
                f"{source} has {key!r} in {weights[key].dtype}, so rounded or quantised; give the "
                "weights in a floating point type."
            )
        values[name], change = adapt(key, weights[key], state[name])
        if change:
            changes[name] = change
        found, expected = tuple(values[name].shape), tuple(state[name].shape)
        if found != expected:
            raise UserError(message_for(name)(source, key, found, f"{expected}"))
    return Taken(values, dict(sources), changes)
