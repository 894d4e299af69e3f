"""Detectron2's windowed ViT (ViTDet) with fused attention and torch's activation checkpointing."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from detectron2.modeling.backbone.utils import add_decomposed_rel_pos, get_abs_pos
from detectron2.modeling.backbone.vit import Attention, ViT
from torch import nn
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

from imted.compat import replace_attention


class FusedAttention(Attention):
    """Detectron2's attention computed by ``scaled_dot_product_attention``."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Attend within each window; x is (N, h, w, C) in and out."""
        batch, height, width, channels = x.shape
        tokens = height * width
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.num_heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        bias = None
        if self.use_rel_pos:
            heads = batch * self.num_heads
            bias = add_decomposed_rel_pos(
                q.new_zeros(heads, tokens, tokens),
                q.flatten(0, 1),
                self.rel_pos_h,
                self.rel_pos_w,
                (height, width),
                (height, width),
            ).unflatten(0, (batch, self.num_heads))
        out = scaled_dot_product_attention(q, k, v, attn_mask=bias).transpose(1, 2)
        return self.proj(out.reshape(batch, height, width, channels))


class WindowedEncoder(ViT):
    """ViTDet's encoder: window attention with a few global blocks, no class token.

    It takes the same MAE weights as `imted.modeling.MAEEncoder`, parameter by parameter;
    the class token has no place in it. Arguments are those of Detectron2's ``ViT``.
    """

    def __init__(
        self,
        *,
        norm_layer: Callable[[int], nn.Module] = partial(nn.LayerNorm, eps=1e-6),
        use_act_checkpoint: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(norm_layer=norm_layer, **kwargs)
        # Not handed to ViT, whose checkpointing needs fairscale.
        self.use_act_checkpoint = use_act_checkpoint
        # The same parameters under the same names; only the way to compute differs.
        replace_attention(self, FusedAttention)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Encode normalised images (N, 3, H, W); see `MAEEncoder.forward`."""
        x = self.patch_embed(x)
        if self.pos_embed is not None:
            x = x + get_abs_pos(self.pos_embed, self.pretrain_use_cls_token, x.shape[1:3])
        for block in self.blocks:
            if self.use_act_checkpoint and torch.is_grad_enabled():
                x = checkpoint(block, x, use_reentrant=False)
            else:
                x = block(x)
        return {self._out_features[0]: x.permute(0, 3, 1, 2)}
