"""Parameter groups: layer-wise learning rate decay and exemptions from weight decay."""

import re
from typing import Any

from detectron2.solver.build import reduce_param_groups
from torch import nn

_ENCODER = "backbone.net."
_BLOCK = re.compile(re.escape(_ENCODER) + r"blocks\.(\d+)\.")
_NOT_DECAYED = ("cls_token", "mask_token", "pos_embed", "rel_pos_h", "rel_pos_w")


def layer_decay_param_groups(
    model: nn.Module, base_lr: float, weight_decay: float, layer_decay: float = 1.0
) -> list[dict[str, Any]]:
    """Group parameters by learning rate and weight decay, as imTED's recipe wants them.

    With L encoder blocks, block i trains at ``base_lr * layer_decay ** (L - i)``; the patch
    embedding, class token and position embedding train at ``base_lr * layer_decay ** (L + 1)``.
    Everything else, the migrated decoder included, trains at ``base_lr``. One-dimensional
    parameters (biases, norms, the modulator's scale), tokens and position embeddings have no
    weight decay.

    Args:
        model: A detector (its encoder is ``backbone.net``) or a masked autoencoder.
        base_lr: Learning rate of everything that is not in the encoder.
        weight_decay: Weight decay of matrices and kernels.
        layer_decay: Factor from one encoder block to the one before it.

    Returns:
        Groups for a torch optimizer; frozen parameters are left out.
    """
    names = [name for name, _ in model.named_parameters()]
    depth = len({match.group(1) for name in names if (match := _BLOCK.match(name))})
    groups = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        exempt = parameter.ndim <= 1 or name.endswith(_NOT_DECAYED)
        groups.append(
            {
                "params": [parameter],
                "lr": base_lr * layer_decay ** _layers_above(name, depth),
                "weight_decay": 0.0 if exempt else weight_decay,
            }
        )
    return reduce_param_groups(groups)


def _layers_above(name: str, depth: int) -> int:
    if match := _BLOCK.match(name):
        return depth - int(match.group(1))
    stem = (f"{_ENCODER}patch_embed.", f"{_ENCODER}cls_token", f"{_ENCODER}pos_embed")
    return depth + 1 if name.startswith(stem) else 0
