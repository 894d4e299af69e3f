import math

import numpy as np
import pytest
import torch
from detectron2.modeling.backbone.utils import get_abs_pos
from torch.nn.functional import interpolate

from imted.modeling.positions import resize_position_embedding, sincos_position_embedding


def test_every_element_follows_the_formula():
    dim, grid = 16, 5
    quarter = dim // 4
    table = sincos_position_embedding(dim, grid)[0].numpy()
    assert table.shape == (1 + grid**2, dim)
    assert not table[0].any()  # the class token's row
    expected = np.empty((grid, grid, dim))
    for row in range(grid):
        for column in range(grid):
            for channel in range(dim):
                # The first half of the channels is the column's, the second half the row's.
                coordinate = column if channel < dim // 2 else row
                k = channel % quarter
                angle = coordinate / 10000 ** (k / quarter)
                is_sine = channel % (dim // 2) < quarter
                expected[row, column, channel] = (math.sin if is_sine else math.cos)(angle)
    np.testing.assert_allclose(table[1:], expected.reshape(-1, dim), atol=1e-6)


def test_channels_must_divide_by_four():
    with pytest.raises(ValueError, match="multiple of 4"):
        sincos_position_embedding(18, 4)


def test_same_grid_is_the_identity():
    table = torch.randn(1, 1 + 36, 8)
    assert torch.equal(resize_position_embedding(table, (6, 6)), table)


# (2, 18) and (3, 12) have as many patches as the table has rows, but in another shape.
@pytest.mark.parametrize("grid", [(7, 7), (4, 9), (11, 3), (2, 18), (3, 12)])
def test_resized_like_detectron2_with_the_class_row_kept(grid):
    table = torch.randn(1, 1 + 36, 8, generator=torch.Generator().manual_seed(0))
    resized = resize_position_embedding(table, grid)
    assert resized.shape == (1, 1 + grid[0] * grid[1], 8)
    assert torch.equal(resized[:, 0], table[:, 0])
    expected = get_abs_pos(table, True, grid).reshape(1, -1, 8)
    torch.testing.assert_close(resized[:, 1:], expected)


def test_rows_stay_rows():
    table = torch.zeros(1, 1 + 16, 1)
    table[0, 1:, 0] = torch.arange(4.0).repeat_interleave(4)  # the row's number
    resized = resize_position_embedding(table, (8, 2))[0, 1:, 0].reshape(8, 2)
    assert torch.equal(resized[:, 0], resized[:, 1])
    assert (resized[1:] > resized[:-1]).all()


# Of released detectors: the table's own grid, RoIs, a high and a wide image.
@pytest.mark.parametrize("grid", [(14, 14), (7, 7), (50, 38), (25, 42)])
def test_offset_is_a_factor_of_scale(grid):
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(1, 1 + 196, 6, generator=generator)
    found = resize_position_embedding(table, grid, interpolate_offset=0.1)
    patches = table[0, 1:].T.reshape(1, 6, 14, 14)
    factor = ((grid[0] + 0.1) / 14, (grid[1] + 0.1) / 14)
    expected = interpolate(patches, scale_factor=factor, mode="bicubic")[0]
    assert expected.shape == (6, *grid)
    assert torch.equal(found[0, 1:], expected.flatten(1).T)
    assert torch.equal(found[0, 0], table[0, 0])


def cubic(distance: float) -> float:
    """Keys' kernel with the parameter -0.75."""
    t = abs(distance)
    if t <= 1:
        return 1.25 * t**3 - 2.25 * t**2 + 1
    return -0.75 * (t**3 - 5 * t**2 + 8 * t - 4) if t < 2 else 0.0


@pytest.mark.parametrize("offset", [0.0, 0.1, 0.4])
def test_offset_shortens_the_step(offset):
    side, size = 14, 31
    values = torch.randn(side, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    table = torch.zeros(1, 1 + side**2, 1, dtype=torch.float64)
    table[0, 1:, 0] = values.repeat(side)  # the same in every row
    found = resize_position_embedding(table, (side, size), offset)[0, 1:].reshape(side, size)
    for i in range(size):
        place = (i + 0.5) * side / (size + offset) - 0.5
        near = range(math.floor(place) - 1, math.floor(place) + 3)
        expected = sum(values[min(max(k, 0), side - 1)] * cubic(place - k) for k in near)
        # timm resizes in single precision.
        torch.testing.assert_close(found[3, i], expected, atol=1e-5, rtol=1e-5)
