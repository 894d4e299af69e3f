"""The MAE encoder as a Detectron2 backbone: a plain ViT with its class token.

Shapes: N images, C channels, h x w patches, L = h * w tokens.
"""

import math
from collections.abc import Sequence

import torch
from detectron2.modeling import Backbone
from timm.layers import PatchEmbed
from torch import nn

from imted.errors import UserError

from .positions import resize_position_embedding, sincos_position_embedding
from .transformer_blocks import TransformerBlocks, init_transformer_weights


class MAEEncoder(Backbone):
    """Plain ViT with global attention, every parameter named as in a MAE checkpoint.

    The encoder's final norm is not here: in imTED it is applied to each RoI's tokens, by the
    decoder (imTED, Sec. 3.2), so it lives in `imted.modeling.MAEDecoder`.
    """

    def __init__(
        self,
        *,
        embed_dim: int,
        depth: int,
        num_heads: int,
        patch_size: int = 16,
        pretrain_img_size: int = 224,
        mlp_ratio: float = 4.0,
        drop_path_rate: float = 0.0,
        use_act_checkpoint: bool = False,
        interpolate_offset: float = 0.0,
        out_feature: str = "last_feat",
        early_blocks: Sequence[int] = (),
    ) -> None:
        """Build the modules.

        Args:
            embed_dim: Channels of a token.
            depth: Number of transformer blocks.
            num_heads: Attention heads.
            patch_size: Side of a patch in pixels, which is also the stride of the feature map.
            pretrain_img_size: Side in pixels of the images that the positions were made for.
            mlp_ratio: Hidden width of the MLP over `embed_dim`.
            drop_path_rate: Stochastic depth rate of the last block; it grows linearly from 0.
            use_act_checkpoint: Recompute each block in the backward pass to save memory.
            interpolate_offset: See `imted.modeling.positions.resize_position_embedding`;
                images of the pre-training's size have the positions as they are in any case.
            out_feature: Name of the last block's map in the output.
            early_blocks: Blocks, counted from 1, whose maps are in the output as well, that of
                block 12 as "block12".

        Raises:
            UserError: If the encoder has no such block.
        """
        super().__init__()
        if not all(1 <= number <= depth for number in early_blocks):
            raise UserError(
                f"early_blocks={list(early_blocks)}: this encoder has the blocks 1 to {depth}."
            )
        self.patch_embed = PatchEmbed(
            img_size=None, patch_size=patch_size, embed_dim=embed_dim, strict_img_size=False
        )
        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.pos_embed = nn.Parameter(
            sincos_position_embedding(embed_dim, pretrain_img_size // patch_size)
        )
        self.blocks = TransformerBlocks(
            embed_dim, depth, num_heads, mlp_ratio, drop_path_rate, use_act_checkpoint
        )
        self.interpolate_offset = interpolate_offset
        self.block_of = {f"block{number}": number for number in early_blocks}
        self.block_of[out_feature] = depth
        self._out_features = list(self.block_of)
        self._out_feature_channels = dict.fromkeys(self.block_of, embed_dim)
        self._out_feature_strides = dict.fromkeys(self.block_of, patch_size)

        self.apply(init_transformer_weights)
        nn.init.xavier_uniform_(self.patch_embed.proj.weight.flatten(1))
        nn.init.normal_(self.cls_token, std=0.02)

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels."""
        return self.patch_embed.patch_size[0]

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """Turn images (N, 3, H, W) into patch tokens with positions (N, L, C), no class token."""
        rows, columns = (side // self.patch_size for side in images.shape[-2:])
        positions: torch.Tensor = self.pos_embed
        side = math.isqrt(positions.shape[1] - 1)
        if torch.jit.is_tracing():  # a trace has no branches: the table's own grid has no offset
            other_grid = (rows != side) | (columns != side)
            offset = self.interpolate_offset * other_grid
            positions = resize_position_embedding(positions, (rows, columns), offset)
        elif (rows, columns) != (side, side):
            positions = resize_position_embedding(
                positions, (rows, columns), self.interpolate_offset
            )
        return self.patch_embed(images) + positions[:, 1:]

    def encode(self, tokens: torch.Tensor) -> torch.Tensor:
        """Put the class token before any subset of patch tokens and run the blocks.

        Args:
            tokens: Patch tokens with positions, (N, L, C).

        Returns:
            (N, 1 + L, C), class token first, not normalised.
        """
        return self.blocks(self._with_class_token(tokens))

    def _with_class_token(self, tokens: torch.Tensor) -> torch.Tensor:
        cls_token = (self.cls_token + self.pos_embed[:, :1]).expand(len(tokens), -1, -1)
        return torch.cat([cls_token, tokens], dim=1)

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Encode normalised images (N, 3, H, W), both sides multiples of the patch size.

        Returns:
            The last block's patch tokens as one map, {out_feature: (N, C, h, w)}, and those of
            `early_blocks`.
        """
        grid = tuple(side // self.patch_size for side in images.shape[-2:])
        outputs = {}
        tokens = self._with_class_token(self.embed(images))
        for number, block in enumerate(self.blocks, start=1):
            tokens = self.blocks.run(block, tokens)
            if number in self.block_of.values():
                # Not by unflatten, which ONNX's exporter takes the example's grid of.
                outputs[number] = tokens[:, 1:].transpose(1, 2).reshape(len(tokens), -1, *grid)
        return {name: outputs[number] for name, number in self.block_of.items()}
