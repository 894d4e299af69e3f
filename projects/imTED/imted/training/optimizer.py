"""Parameter groups: layer-wise learning rate decay and exemptions from weight decay."""

from typing import Any

from detectron2.solver.build import reduce_param_groups
from torch import nn

from imted.errors import UserError
from imted.modeling import ModelParts, parts_of

_STEM = ("patch_embed", "cls_token", "pos_embed")
_DECODER_STEM = ("norm", "decoder_embed")
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

    Detectron2's ``get_default_optimizer_params`` can't give these groups: the norms of its own
    pyramid are none of the classes that it takes for norms, so their weights would decay.

    Args:
        model: A model that states its parts, or one of Detectron2's with a ViT.
        base_lr: Learning rate of everything that is not in the encoder.
        weight_decay: Weight decay of matrices and kernels.
        layer_decay: Factor from one encoder block to the one before it.
        decay_decoder: Go on through the migrated decoder, as in imTED's few-shot fine-tuning: of
            its M blocks, block j trains at ``base_lr * layer_decay ** (M - j)``, the encoder's
            final norm and the decoder embedding at ``base_lr * layer_decay ** (M + 1)``, and what
            is in the encoder another ``layer_decay ** (M + 1)`` lower than above.

    Returns:
        Groups for a torch optimizer; frozen parameters are left out.

    Raises:
        UserError: If the model has no encoder or no decoder whose layers could decay.
    """
    parts = parts_of(model)
    names = [name for name, _ in model.named_parameters()]
    depth = _depth([parts.in_encoder(name) for name in names], "blocks")
    decoder_depth = _depth([parts.in_decoder(name) for name in names], "decoder_blocks")
    if layer_decay != 1 and not depth:
        raise UserError(
            f"optimizer.params.layer_decay={layer_decay} finds no encoder blocks in "
            f"{type(model).__name__}; set it to 1.0."
        )
    if decay_decoder and not decoder_depth:
        raise UserError(
            f"optimizer.params.decay_decoder=true finds no decoder in {type(model).__name__}; "
            "set it to false."
        )
    groups = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        exempt = parameter.ndim <= 1 or name.endswith(_NOT_DECAYED)
        layers = _layers_above(name, parts, depth, decoder_depth if decay_decoder else 0)
        groups.append(
            {
                "params": [parameter],
                "lr": base_lr * layer_decay**layers,
                "weight_decay": 0.0 if exempt else weight_decay,
            }
        )
    return reduce_param_groups(groups)


def _depth(names: list[str], stack: str) -> int:
    return len({name.split(".")[1] for name in names if name.startswith(f"{stack}.")})


def _layers_above(name: str, parts: ModelParts, depth: int, decoder_depth: int) -> int:
    """Count the layers that decay between a parameter and the output."""
    decoder = decoder_depth + 1 if decoder_depth else 0
    part, _, rest = parts.in_encoder(name).partition(".")
    if part == "blocks":
        return decoder + depth - int(rest.split(".")[0])
    if part in _STEM:
        return decoder + depth + 1
    part, _, rest = parts.in_decoder(name).partition(".")
    if decoder_depth and part == "decoder_blocks":
        return decoder_depth - int(rest.split(".")[0])
    return decoder if part in _DECODER_STEM else 0
