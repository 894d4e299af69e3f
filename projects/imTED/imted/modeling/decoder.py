"""The MAE decoder: one trunk, once as the reconstruction decoder and once as the box head.

Shapes: N sequences (images or RoIs), L tokens, D encoder channels, C decoder channels.
"""

from typing import Any

import torch
from detectron2.layers import ShapeSpec
from torch import nn

from .positions import resize_position_embedding, sincos_position_embedding
from .transformer_blocks import LayerNorm, TransformerBlocks, init_transformer_weights


class MAEDecoder(nn.Module):
    """What pre-training and detection have in common, named as in a MAE checkpoint.

    The encoder's final norm is the first thing a MAE decoder's input goes through, so it travels
    with the decoder (imTED, Sec. 3.2).

    Attributes:
        migrated: The parts of a MAE checkpoint that this module takes over, by the first part of
            a parameter's name; the rest of it starts as it was initialised.
        norm_rois: Whether RoIs come without the encoder's final norm, which they then go through.
        interpolate_offset: See `imted.modeling.positions.resize_position_embedding`.
    """

    migrated: tuple[str, ...] = ("norm", "decoder_embed", "decoder_pos_embed", "decoder_blocks")
    norm_rois: bool = True
    interpolate_offset: float = 0.0

    def __init__(
        self,
        *,
        encoder_dim: int,
        dim: int,
        depth: int,
        num_heads: int,
        mlp_ratio: float = 4.0,
        grid_size: int = 14,
        drop_path_rate: float = 0.0,
        use_act_checkpoint: bool = False,
        average: bool = False,
    ) -> None:
        """Build the modules.

        Args:
            encoder_dim: Channels of the tokens that come in (D).
            dim: Channels of a decoder token (C).
            depth: Number of decoder blocks.
            num_heads: Attention heads.
            mlp_ratio: Hidden width of the MLP over `dim`.
            grid_size: Patches along one side of a pre-training image.
            drop_path_rate: Stochastic depth rate of the last block; it grows linearly from 0.
            use_act_checkpoint: Recompute each block in the backward pass to save memory.
            average: Whether the last block gives the mean over its tokens.
        """
        super().__init__()
        self.norm = LayerNorm(encoder_dim)
        self.decoder_embed = nn.Linear(encoder_dim, dim)
        self.decoder_pos_embed = nn.Parameter(
            sincos_position_embedding(dim, grid_size), requires_grad=False
        )
        self.decoder_blocks = TransformerBlocks(
            dim, depth, num_heads, mlp_ratio, drop_path_rate, use_act_checkpoint, average
        )
        self.apply(init_transformer_weights)

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        """Normalise encoder tokens (N, L, D) and project them to (N, L, C)."""
        return self.decoder_embed(self.norm(tokens))

    def embed_rois(self, roi_features: torch.Tensor) -> torch.Tensor:
        """Turn RoI features (R, D, h, w) into the decoder's tokens, (R, h * w, C)."""
        rows, columns = roi_features.shape[-2:]
        positions = resize_position_embedding(
            self.decoder_pos_embed, (rows, columns), self.interpolate_offset
        )
        tokens = roi_features.flatten(2).transpose(1, 2)
        tokens = self.embed(tokens) if self.norm_rois else self.decoder_embed(tokens)
        return tokens + positions[:, 1:]


class ReconstructionDecoder(MAEDecoder):
    """MAE's decoder in pre-training: predicts the pixels of every patch."""

    migrated = (*MAEDecoder.migrated, "mask_token", "decoder_norm", "decoder_pred")

    def __init__(self, *, patch_size: int = 16, **kwargs: Any) -> None:
        """Build the modules.

        Args:
            patch_size: Side of a patch in pixels.
            **kwargs: See `MAEDecoder`.
        """
        super().__init__(**kwargs)
        dim = self.decoder_embed.out_features
        self.mask_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.decoder_norm = LayerNorm(dim)
        self.decoder_pred = nn.Linear(dim, patch_size**2 * 3)
        init_transformer_weights(self.decoder_pred)
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(
        self, encoded: torch.Tensor, ids_restore: torch.Tensor, grid: tuple[int, int]
    ) -> torch.Tensor:
        """Fill the hidden places with the mask token and predict all patches.

        Args:
            encoded: The encoder's output for the visible tokens, class token first,
                (N, 1 + visible, D).
            ids_restore: (N, L), where in the sequence "visible tokens, then hidden ones" each
                patch stands.
            grid: Rows and columns of patches, L = rows * columns.

        Returns:
            Predicted pixels, (N, L, patch_size**2 * 3).
        """
        tokens = self.embed(encoded)
        cls_token, visible = tokens[:, :1], tokens[:, 1:]
        batch, length = ids_restore.shape
        hidden = self.mask_token.expand(batch, length - visible.shape[1], -1)
        patches = torch.cat([visible, hidden.to(visible)], dim=1)
        patches = patches.gather(1, ids_restore[..., None].expand(-1, -1, patches.shape[2]))
        tokens = torch.cat([cls_token, patches], dim=1)
        tokens = tokens + resize_position_embedding(self.decoder_pos_embed, grid)
        tokens = self.decoder_norm(self.decoder_blocks(tokens))
        return self.decoder_pred(tokens)[:, 1:]


class DecoderBoxHead(MAEDecoder):
    """MAE's decoder as the box head (imTED, Sec. 3.2 and Fig. 2): RoI features to one vector.

    The positions of a RoI are the tokens of one sequence; there is no class token among them. The
    mean of the decoded tokens goes through a norm that is new, as in the released code: MAE's
    ``decoder_norm`` served pixels.
    """

    def __init__(
        self, *, norm_rois: bool = True, interpolate_offset: float = 0.0, **kwargs: Any
    ) -> None:
        """Build the modules.

        Args:
            norm_rois: True applies the encoder's final norm to the tokens of each RoI, as imTED
                does. False leaves it to the caller, who pools RoIs from a map that
                `norm_map` has normed.
            interpolate_offset: See `imted.modeling.positions.resize_position_embedding`.
            **kwargs: See `MAEDecoder`.
        """
        super().__init__(average=True, **kwargs)
        self.norm_rois = norm_rois
        self.interpolate_offset = interpolate_offset
        self.box_norm = LayerNorm(self.decoder_embed.out_features)

    @property
    def output_shape(self) -> ShapeSpec:
        """Shape of one RoI's vector, as Detectron2's box heads state it."""
        return ShapeSpec(channels=self.decoder_embed.out_features)

    def read(self, channels: int) -> None:
        """Start norm and embedding anew, for RoI features of another width (imTED, Fig. 2(a)).

        Args:
            channels: Channels of the RoI features to come.
        """
        self.norm = LayerNorm(channels)
        self.decoder_embed = nn.Linear(channels, self.decoder_embed.out_features)
        init_transformer_weights(self.decoder_embed)

    def norm_map(self, feature: torch.Tensor) -> torch.Tensor:
        """Apply the encoder's final norm to each position of its map (N, D, h, w)."""
        return self.norm(feature.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def forward(self, roi_features: torch.Tensor) -> torch.Tensor:
        """Turn RoI features (R, D, h, w) into one vector each, (R, C)."""
        if not torch.jit.is_tracing() and not len(roi_features):
            # Fused attention on a GPU takes no empty batch; all stays part of the graph.
            one = roi_features.new_zeros(1, *roi_features.shape[1:])
            return self.forward(torch.cat([roi_features, one]))[:0]
        return self.box_norm(self.decoder_blocks(self.embed_rois(roi_features)))
