"""The stack of transformer blocks that encoder and decoder share, and one that ends in a mean."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from timm.layers import Mlp
from timm.models.vision_transformer import Block
from torch import nn
from torch.utils.checkpoint import checkpoint

# MAE's epsilon, for every norm inside encoder and decoder.
LayerNorm = partial(nn.LayerNorm, eps=1e-6)


class AveragingMlp(Mlp):
    """timm's MLP, averaged over the tokens: (N, L, C) to (N, 1, C).

    The last layer is linear, so it may take the mean of its inputs: the same for L times less work.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the mean of what the MLP makes of each token."""
        hidden = self.norm(self.drop1(self.act(self.fc1(x))))
        return self.drop2(self.fc2(hidden.mean(dim=1, keepdim=True)))


class AveragingBlock(Block):
    """timm's pre-norm block, averaged over the tokens: (N, L, C) to (N, C).

    Its parameters are those of timm's block, under the same names.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, mlp_layer=AveragingMlp, **kwargs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the mean over the tokens of what timm's block gives."""
        x = x + self.drop_path1(self.ls1(self.attn(self.norm1(x))))
        added = self.drop_path2(self.ls2(self.mlp(self.norm2(x))))
        return (x.mean(dim=1, keepdim=True) + added).squeeze(1)


class TransformerBlocks(nn.ModuleList):
    """Pre-norm blocks with global attention (timm's, so scaled_dot_product_attention inside)."""

    def __init__(
        self,
        dim: int,
        depth: int,
        num_heads: int,
        mlp_ratio: float = 4.0,
        drop_path_rate: float = 0.0,
        use_act_checkpoint: bool = False,
        average: bool = False,
    ) -> None:
        """Build the modules.

        Args:
            dim: Channels of a token.
            depth: Number of blocks.
            num_heads: Attention heads.
            mlp_ratio: Hidden width of the MLP over `dim`.
            drop_path_rate: Stochastic depth rate of the last block; it grows linearly from 0.
            use_act_checkpoint: Recompute each block in the backward pass to save memory.
            average: Whether the last block is an `AveragingBlock`.

        Raises:
            ValueError: The heads don't divide the width.
        """
        if num_heads < 1 or dim % num_heads:
            raise ValueError(f"num_heads is {num_heads}; it must divide the width, {dim}")
        rates = torch.linspace(0, drop_path_rate, depth, device="cpu").tolist()
        kinds = [Block] * (depth - 1) + [AveragingBlock if average else Block]
        super().__init__(
            kind(dim, num_heads, mlp_ratio, qkv_bias=True, drop_path=rate, norm_layer=LayerNorm)
            for kind, rate in zip(kinds, rates, strict=True)
        )
        self.use_act_checkpoint = use_act_checkpoint

    def run(
        self, block: Callable[[torch.Tensor], torch.Tensor], tokens: torch.Tensor
    ) -> torch.Tensor:
        """Run one of the blocks on tokens (N, L, C)."""
        if self.use_act_checkpoint and torch.is_grad_enabled():
            return checkpoint(block, tokens, use_reentrant=False)
        return block(tokens)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Run the blocks in order: tokens (N, L, C) to (N, L, C), or to (N, C) with `average`."""
        for block in self:
            tokens = self.run(block, tokens)
        return tokens


def init_transformer_weights(module: nn.Module) -> None:
    """Initialise one module as MAE does: Xavier-uniform linear layers, zero biases."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
