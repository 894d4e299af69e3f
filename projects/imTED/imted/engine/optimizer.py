"""Parameter groups: layer-wise learning rate decay and exemptions from weight decay."""

import re
from typing import Any

from detectron2.solver.build import reduce_param_groups
from torch import nn

_ENCODER = "backbone.net."
_BLOCK = re.compile(re.escape(_ENCODER) + r"blocks\.(\d+)\.")
_DECODER = "roi_heads.box_head."
_DECODER_BLOCK = re.compile(re.escape(_DECODER) + r"decoder_blocks\.(\d+)\.")
_STEM = tuple(f"{_ENCODER}{name}" for name in ("patch_embed.", "cls_token", "pos_embed"))
_DECODER_STEM = (f"{_DECODER}norm.", f"{_DECODER}decoder_embed.")
_NOT_DECAYED = ("cls_token", "mask_token", "pos_embed", "rel_pos_h", "rel_pos_w")


def layer_decay_param_groups(
    model: nn.Module,
    base_lr: float,
    weight_decay: float,
    layer_decay: float = 1.0,
    decay_decoder: bool = False,
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
        decay_decoder: Go on through the migrated decoder, as in imTED's few-shot fine-tuning: of
            its M blocks, block j trains at ``base_lr * layer_decay ** (M - j)``, the encoder's
            final norm and the decoder embedding at ``base_lr * layer_decay ** (M + 1)``, and what
            is in the encoder another ``layer_decay ** (M + 1)`` lower than above.

    Returns:
        Groups for a torch optimizer; frozen parameters are left out.
    """
    depth = _depth(model, _BLOCK)
    decoder_depth = _depth(model, _DECODER_BLOCK) if decay_decoder else 0
    groups = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        exempt = parameter.ndim <= 1 or name.endswith(_NOT_DECAYED)
        groups.append(
            {
                "params": [parameter],
                "lr": base_lr * layer_decay ** _layers_above(name, depth, decoder_depth),
                "weight_decay": 0.0 if exempt else weight_decay,
            }
        )
    return reduce_param_groups(groups)


def _depth(model: nn.Module, block: re.Pattern) -> int:
    return len({m.group(1) for name, _ in model.named_parameters() if (m := block.match(name))})


def _layers_above(name: str, depth: int, decoder_depth: int) -> int:
    """Count the layers that decay between a parameter and the output."""
    decoder = decoder_depth + 1 if decoder_depth else 0
    if match := _BLOCK.match(name):
        return decoder + depth - int(match.group(1))
    if name.startswith(_STEM):
        return decoder + depth + 1
    if decoder_depth and (match := _DECODER_BLOCK.match(name)):
        return decoder_depth - int(match.group(1))
    return decoder if name.startswith(_DECODER_STEM) else 0
