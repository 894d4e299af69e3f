from functools import partial

import pytest
import torch
from detectron2.modeling.backbone.vit import ViT
from torch import nn

from imted.modeling import WindowedEncoder

PATCH = 8
SIZES = dict(
    img_size=6 * PATCH,
    patch_size=PATCH,
    embed_dim=16,
    depth=3,
    num_heads=4,
    window_size=3,
    window_block_indexes=(0, 2),
    pretrain_img_size=4 * PATCH,
)


def output_and_gradients(encoder: nn.Module, images: torch.Tensor) -> list[torch.Tensor]:
    images = images.clone().requires_grad_()
    output = encoder(images)["last_feat"]
    weights = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view_as(output)
    (output * weights).sum().backward()
    return [output.detach(), images.grad, *(p.grad for p in encoder.parameters())]


# Multiples of the window, and sizes that need padding to it; square and not.
@pytest.mark.parametrize("grid", [(6, 6), (4, 4), (5, 7)])
@pytest.mark.parametrize("use_rel_pos", [True, False])
@pytest.mark.parametrize("use_act_checkpoint", [False, True])
def test_equals_detectron2s_vit(randomize, grid, use_rel_pos, use_act_checkpoint):
    norm = partial(nn.LayerNorm, eps=1e-6)
    theirs = randomize(ViT(**SIZES, use_rel_pos=use_rel_pos, norm_layer=norm))
    ours = WindowedEncoder(**SIZES, use_rel_pos=use_rel_pos, use_act_checkpoint=use_act_checkpoint)
    ours = ours.double().eval()
    ours.load_state_dict(theirs.state_dict())
    generator = torch.Generator().manual_seed(2)
    shape = (2, 3, grid[0] * PATCH, grid[1] * PATCH)
    images = torch.randn(shape, generator=generator, dtype=torch.float64)

    blocks_run = []
    for block in ours.blocks:
        block.register_forward_pre_hook(lambda *args: blocks_run.append(1))
    found = output_and_gradients(ours, images)
    torch.testing.assert_close(found, output_and_gradients(theirs, images))
    assert len(blocks_run) == 3 * (1 + use_act_checkpoint)


def test_without_positions(randomize):
    theirs = randomize(ViT(**SIZES, use_abs_pos=False, norm_layer=partial(nn.LayerNorm, eps=1e-6)))
    ours = WindowedEncoder(**SIZES, use_abs_pos=False).double().eval()
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(1, 3, 4 * PATCH, 4 * PATCH, dtype=torch.float64)
    torch.testing.assert_close(ours(images), theirs(images))


def test_states_the_shape_of_its_output():
    shape = WindowedEncoder(**SIZES).output_shape()["last_feat"]
    assert (shape.channels, shape.stride) == (16, PATCH)
