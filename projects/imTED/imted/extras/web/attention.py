"""What the tokens of a RoI attend to in the MAE decoder that classifies it.

Shapes: R RoIs, B decoder blocks, L tokens of a RoI row by row, C decoder channels.
"""

from typing import Any, cast

import torch
from detectron2.modeling import GeneralizedRCNN
from detectron2.structures import Boxes
from timm.models.vision_transformer import Attention  # in timm.layers from 1.0.16 on
from torch import nn

from imted.errors import UserError
from imted.modeling import DecoderBoxHead


def find_decoder(model: nn.Module) -> DecoderBoxHead:
    """Return the MAE decoder that is a detector's box head.

    Raises:
        UserError: Its box head is another.
    """
    head = getattr(getattr(model, "roi_heads", None), "box_head", None)
    if not isinstance(head, DecoderBoxHead):
        raise UserError(
            f"the detector's box head is a {type(head).__name__}, not a MAE decoder "
            "(model.roi_heads.variant)."
        )
    return head


@torch.no_grad()
def box_attention(
    model: GeneralizedRCNN, inputs: dict[str, Any], boxes: torch.Tensor
) -> torch.Tensor:
    """Compute the attention in boxes of one image; see `decoder_attention`.

    Args:
        model: In evaluation mode.
        inputs: Detectron2's model input: "image", and "height" and "width" of the image's own.
        boxes: XYXY in pixels of the image's own size, (R, 4).

    Raises:
        UserError: The detector has no decoder.
    """
    head = find_decoder(model)
    images = model.preprocess_image([inputs])
    height, width = images.image_sizes[0]
    scale = images.tensor.new_tensor([width / inputs["width"], height / inputs["height"]] * 2)
    resized = Boxes(boxes.to(scale) * scale)
    features = model.backbone(images.tensor)
    heads = model.roi_heads
    rois = heads.box_pooler(list(heads.box_maps(features).values()), [resized])
    return decoder_attention(head, rois)


@torch.no_grad()
def decoder_attention(head: DecoderBoxHead, roi_features: torch.Tensor) -> torch.Tensor:
    """Compute the attention weights in each decoder block, averaged over heads.

    Args:
        head: In evaluation mode.
        roi_features: (R, D, h, w), h * w = L.

    Returns:
        (R, B, L, L): row i has the weights with which token i takes up the others; they sum to 1.
        The head's output is the mean of the tokens, so the mean of the rows of the last block
        says what this block lets into it from where.
    """
    weights: list[torch.Tensor] = []

    def note(attention: Attention, inputs: tuple[torch.Tensor, ...]) -> None:
        weights.append(attention_weights(attention, inputs[0]).mean(dim=1))

    handles = [
        block.attn.register_forward_pre_hook(note) for block in cast(Any, head.decoder_blocks)
    ]
    try:
        head(roi_features)
    finally:
        for handle in handles:
            handle.remove()
    return torch.stack(weights, dim=1)[: len(roi_features)]  # no RoIs are tried as one


def attention_weights(attention: Attention, tokens: torch.Tensor) -> torch.Tensor:
    """Compute the weights, (R, heads, L, L), that fused attention to tokens (R, L, C) hides."""
    qkv = attention.qkv(tokens).unflatten(-1, (3, attention.num_heads, -1))
    queries, keys, _ = qkv.permute(2, 0, 3, 1, 4)
    queries, keys = attention.q_norm(queries), attention.k_norm(keys)
    return (queries @ keys.transpose(-2, -1) * attention.scale).softmax(dim=-1)
