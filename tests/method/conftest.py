"""A vision transformer written out from its definition (Dosovitskiy et al., 2021)."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import interpolate


def layer_norm(x, state, prefix):
    centred = x - x.mean(dim=-1, keepdim=True)
    variance = centred.square().mean(dim=-1, keepdim=True)
    return centred / (variance + 1e-6).sqrt() * state[f"{prefix}.weight"] + state[f"{prefix}.bias"]


def linear(x, state, prefix):
    return x @ state[f"{prefix}.weight"].T + state[f"{prefix}.bias"]


def attention(x, state, prefix, num_heads):
    """Attend sequence by sequence and head by head."""
    dim = x.shape[-1] // num_heads
    q, k, v = linear(x, state, f"{prefix}.qkv").chunk(3, dim=-1)
    heads = []
    for h in range(num_heads):
        part = slice(h * dim, (h + 1) * dim)
        weights = (q[..., part] @ k[..., part].transpose(-2, -1) / math.sqrt(dim)).exp()
        heads.append(weights / weights.sum(dim=-1, keepdim=True) @ v[..., part])
    return linear(torch.cat(heads, dim=-1), state, f"{prefix}.proj")


def block(x, state, prefix, num_heads):
    x = x + attention(layer_norm(x, state, f"{prefix}.norm1"), state, f"{prefix}.attn", num_heads)
    hidden = linear(layer_norm(x, state, f"{prefix}.norm2"), state, f"{prefix}.mlp.fc1")
    hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
    return x + linear(hidden, state, f"{prefix}.mlp.fc2")


def blocks(x, state, prefix, depth, num_heads):
    for i in range(depth):
        x = block(x, state, f"{prefix}.{i}", num_heads)
    return x


def positions(table, grid):
    """Resize the patches' rows of a table (1, 1 + S * S, C) to a grid: (rows * columns, C)."""
    side = math.isqrt(table.shape[1] - 1)
    patches = table[0, 1:].reshape(side, side, -1)
    if grid != (side, side):
        patches = patches.permute(2, 0, 1)[None]
        patches = interpolate(patches, size=grid, mode="bicubic", align_corners=False)
        patches = patches[0].permute(1, 2, 0)
    return patches.reshape(grid[0] * grid[1], -1)


def patches(image, size):
    """Cut one image (3, H, W) into patches (L, 3, size, size), row by row."""
    rows, columns = image.shape[1] // size, image.shape[2] // size
    return torch.stack(
        [
            image[:, r * size : (r + 1) * size, c * size : (c + 1) * size]
            for r in range(rows)
            for c in range(columns)
        ]
    )


def patch_tokens(image, state, size, grid):
    """Embed the patches of one image and add their positions: (L, C)."""
    kernel = state["patch_embed.proj.weight"].flatten(1)
    tokens = patches(image, size).flatten(1) @ kernel.T + state["patch_embed.proj.bias"]
    return tokens + positions(state["pos_embed"], grid)


@pytest.fixture
def reference():
    """The functions above."""
    return SimpleNamespace(
        layer_norm=layer_norm,
        linear=linear,
        blocks=blocks,
        positions=positions,
        patches=patches,
        patch_tokens=patch_tokens,
    )
