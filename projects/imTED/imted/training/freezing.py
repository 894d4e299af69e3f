"""Freezing of parts of a model: neither gradients nor statistics reach them."""

import difflib
from collections.abc import Iterable, Sequence

from detectron2.engine import HookBase
from torch import nn

from imted.errors import UserError


def freeze(model: nn.Module, prefixes: Sequence[str]) -> None:
    """Take the gradient from parameters; call it before the optimizer and DDP are built.

    Args:
        model: What to freeze parts of.
        prefixes: Names of modules or parameters, such as "backbone" or "backbone.net.pos_embed"
            (`train.frozen`).

    Raises:
        UserError: The model has no part of such a name, or nothing is left to train.
    """
    parameters = dict(model.named_parameters())
    for prefix in prefixes:
        frozen = [name for name in parameters if _is_part(name, prefix)]
        if not frozen:
            raise UserError(_unknown_part(prefix, parameters))
        for name in frozen:
            parameters[name].requires_grad_(False)
    if prefixes and not any(p.requires_grad for p in parameters.values()):
        raise UserError(f"train.frozen={list(prefixes)} leaves nothing to train; freeze less.")


class FrozenEvalHook(HookBase):
    """Keep the layers of frozen parts in evaluation mode while the rest trains.

    Dropout and drop path are off in them, and batch norms neither use nor update the statistics
    of a batch. Only modules without parts of their own are switched: containers such as the RPN
    decide by their mode whether they compute losses.

    Args:
        model: The model itself, not its DDP wrapper.
        prefixes: As for `freeze`.
    """

    def __init__(self, model: nn.Module, prefixes: Sequence[str]) -> None:
        self._layers = [
            module
            for name, module in model.named_modules()
            if not list(module.children()) and any(_is_part(name, prefix) for prefix in prefixes)
        ]

    def before_step(self) -> None:
        """Switch them; an evaluation has put the whole model back into training mode."""
        for layer in self._layers:
            layer.eval()


def _is_part(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(f"{prefix}.")


def _unknown_part(prefix: str, parameters: Iterable[str]) -> str:
    parts = [name.split(".") for name in parameters]
    known = {".".join(part[:depth]): None for part in parts for depth in range(1, len(part) + 1)}
    near = difflib.get_close_matches(prefix, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"it has {', '.join({p[0]: 0 for p in parts})}."
    return f"train.frozen: the model has no part {prefix!r}; {hint}"
