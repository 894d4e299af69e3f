"""The stack of transformer blocks that encoder and decoder share."""

from collections.abc import Callable
from functools import partial

import torch
from timm.models.vision_transformer import Block
from torch import nn
from torch.utils.checkpoint import checkpoint

# MAE's epsilon, for every norm inside encoder and decoder.
LayerNorm = partial(nn.LayerNorm, eps=1e-6)


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
    ) -> None:
        """Build the modules.

        Args:
            dim: Channels of a token.
            depth: Number of blocks.
            num_heads: Attention heads.
            mlp_ratio: Hidden width of the MLP over `dim`.
            drop_path_rate: Stochastic depth rate of the last block; it grows linearly from 0.
            use_act_checkpoint: Recompute each block in the backward pass to save memory.
        """
        rates = torch.linspace(0, drop_path_rate, depth, device="cpu").tolist()
        super().__init__(
            Block(dim, num_heads, mlp_ratio, qkv_bias=True, drop_path=rate, norm_layer=LayerNorm)
            for rate in rates
        )
        self.use_act_checkpoint = use_act_checkpoint

    def run(
        self, block: Callable[[torch.Tensor], torch.Tensor], tokens: torch.Tensor
    ) -> torch.Tensor:
        """Run one of the blocks; tokens are (N, L, C) in and out."""
        if self.use_act_checkpoint and torch.is_grad_enabled():
            return checkpoint(block, tokens, use_reentrant=False)
        return block(tokens)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Run the blocks in order; tokens are (N, L, C) in and out."""
        for block in self:
            tokens = self.run(block, tokens)
        return tokens

    def mean(self, tokens: torch.Tensor) -> torch.Tensor:
        """Run the blocks in order and average the tokens: (N, L, C) to (N, C).

        The last layer of all is linear. Here it takes the mean of its inputs, which is the same
        for L times less work: a sixth of what a decoder of two blocks costs.
        """
        *first, last = self
        for block in first:
            tokens = self.run(block, tokens)
        return self.run(partial(_mean_after, last), tokens)


def _mean_after(block: Block, tokens: torch.Tensor) -> torch.Tensor:
    """Return the mean over the tokens of what a block puts out."""
    tokens = tokens + block.drop_path1(block.ls1(block.attn(block.norm1(tokens))))
    mlp = block.mlp
    hidden = mlp.act(mlp.fc1(block.norm2(tokens)))
    added = block.ls2(mlp.fc2(hidden.mean(dim=1, keepdim=True)))
    return (tokens.mean(dim=1, keepdim=True) + block.drop_path2(added)).squeeze(1)


def init_transformer_weights(module: nn.Module) -> None:
    """Initialise one module as MAE does: Xavier-uniform linear layers, zero biases."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
