"""Position embeddings of the masked autoencoder: the fixed sin-cos table and its resizing."""

import math

import torch
from timm.layers import resample_abs_pos_embed
from torch.nn.functional import grid_sample, interpolate


def sincos_position_embedding(dim: int, grid_size: int) -> torch.Tensor:
    """Build MAE's fixed 2-D sin-cos table (He et al., 2022).

    The first half of the channels encodes the column, the second half the row; within a half,
    sines come before cosines. The class token's row is zero.

    Args:
        dim: Number of channels, a multiple of 4.
        grid_size: Patches along one side of the square grid.

    Returns:
        Table of shape (1, 1 + grid_size**2, dim), class token first, then row by row.
    """
    if dim % 4:
        raise ValueError(f"A 2-D sin-cos embedding needs a multiple of 4 channels, not {dim}.")
    quarter = dim // 4
    frequencies = 10000.0 ** -(torch.arange(quarter, dtype=torch.float64) / quarter)
    angles = torch.arange(grid_size, dtype=torch.float64)[:, None] * frequencies
    axis = torch.cat([angles.sin(), angles.cos()], dim=1)
    columns = axis[None, :, :].expand(grid_size, -1, -1)
    rows = axis[:, None, :].expand(-1, grid_size, -1)
    table = torch.cat([columns, rows], dim=2).reshape(1, grid_size**2, dim)
    return torch.cat([torch.zeros(1, 1, dim), table.float()], dim=1)


def resize_position_embedding(
    pos_embed: torch.Tensor, grid: tuple[int, int], interpolate_offset: float = 0.0
) -> torch.Tensor:
    """Resize the patch positions bicubically; the class token's row stays as it is.

    Args:
        pos_embed: (1, 1 + S**2, C), class token first, then a square grid row by row.
        grid: Rows and columns wanted.
        interpolate_offset: Where it is not 0, sample at steps of S / (side + interpolate_offset)
            instead of S / side, even if the grid is the table's own. The released imTED, as DINO,
            has 0.1.

    Returns:
        (1, 1 + grid[0] * grid[1], C).
    """
    # Without antialiasing: Detectron2's ViTDet and the released imTED resize the same way.
    tracing = torch.jit.is_tracing()
    if not tracing and not interpolate_offset:
        return resample_abs_pos_embed(pos_embed, list(grid), num_prefix_tokens=1, antialias=False)
    side = math.isqrt(pos_embed.shape[1] - 1)
    patches = pos_embed[:, 1:].unflatten(1, (side, side)).permute(0, 3, 1, 2)
    if tracing:
        # The same by places from -1 to 1 over the table: what interpolate is given besides the
        # table would be that of the example, and a trace is to serve images of any size.
        rows, columns = (
            (2 * torch.arange(size, device=patches.device) + 1) / (size + interpolate_offset) - 1
            for size in grid
        )
        places = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=2)[None]
        patches = grid_sample(
            patches, places.to(patches), "bicubic", padding_mode="border", align_corners=False
        )
    else:
        scale_factor = tuple((size + interpolate_offset) / side for size in grid)
        patches = interpolate(patches, scale_factor=scale_factor, mode="bicubic")
    return torch.cat([pos_embed[:, :1], patches.flatten(2).transpose(1, 2)], dim=1)
