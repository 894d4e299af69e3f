import pytest
import torch
from torch.nn.functional import interpolate

from imted.errors import UserError
from imted.modeling import MAEEncoder

PATCH = 8


def make_encoder(**kwargs) -> MAEEncoder:
    torch.manual_seed(0)
    kwargs = dict(embed_dim=16, depth=3, num_heads=4, patch_size=PATCH) | kwargs
    return MAEEncoder(pretrain_img_size=4 * PATCH, **kwargs)


def random_images(rows: int, columns: int, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (2, 3, rows * PATCH, columns * PATCH)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


# The grid of pre-training, a wide and a high one, and one with as many patches as the first.
@pytest.mark.parametrize("grid", [(4, 4), (3, 7), (6, 2), (2, 8)])
def test_equals_a_vision_transformer_written_out(randomize, reference, grid):
    encoder = randomize(make_encoder())
    images = random_images(*grid)
    feature = encoder(images)["last_feat"]
    assert feature.shape == (2, 16, *grid)

    state = encoder.state_dict()
    for image, found in zip(images, feature, strict=True):
        tokens = reference.patch_tokens(image, state, PATCH, grid)
        cls_token = state["cls_token"][0] + state["pos_embed"][0, :1]
        tokens = reference.blocks(torch.cat([cls_token, tokens]), state, "blocks", 3, 4)
        for row in range(grid[0]):
            for column in range(grid[1]):
                expected = tokens[1 + row * grid[1] + column]
                # Positions are resized in single precision.
                torch.testing.assert_close(found[:, row, column], expected, atol=1e-5, rtol=1e-5)


def test_fused_attention_is_used(randomize, monkeypatch):
    calls = []
    fused = torch.nn.functional.scaled_dot_product_attention

    def count(*args, **kwargs):
        calls.append(args)
        return fused(*args, **kwargs)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", count)
    randomize(make_encoder())(random_images(2, 2))
    assert len(calls) == 3


@pytest.mark.parametrize("name", ["cls_token", "pos_embed"])
def test_class_token_takes_part(randomize, name):
    encoder = randomize(make_encoder())
    images = random_images(3, 3)
    before = encoder(images)["last_feat"]
    with torch.no_grad():
        getattr(encoder, name)[:, 0] *= -3.0
    assert not torch.allclose(before, encoder(images)["last_feat"], atol=1e-3)


def test_output_shape_states_channels_and_stride():
    shape = make_encoder(out_feature="feature").output_shape()["feature"]
    assert (shape.channels, shape.stride) == (16, PATCH)


def test_no_final_norm_and_no_other_names_than_mae():
    parts = {name.split(".")[0] for name in make_encoder().state_dict()}
    assert parts == {"patch_embed", "cls_token", "pos_embed", "blocks"}


@pytest.mark.parametrize("training", [False, True])
def test_activation_checkpointing_changes_nothing_but_memory(randomize, training):
    images = random_images(3, 5)
    results, runs = [], []
    for use_act_checkpoint in (False, True):
        encoder = randomize(make_encoder(drop_path_rate=0.5, use_act_checkpoint=use_act_checkpoint))
        encoder.train(training)
        count = []
        for block in encoder.blocks:
            block.register_forward_pre_hook(lambda *args, count=count: count.append(1))
        torch.manual_seed(3)  # of drop path
        output = encoder(images)["last_feat"]
        output.square().sum().backward()
        results.append([output.detach(), *(p.grad for p in encoder.parameters())])
        runs.append(len(count))
    torch.testing.assert_close(results[0], results[1], rtol=1e-12, atol=1e-12)
    assert runs == [3, 6]  # every block a second time, in the backward pass


def test_drop_path_grows_linearly_from_zero_to_the_rate():
    blocks = make_encoder(depth=5, drop_path_rate=0.4).blocks
    for path in ("drop_path1", "drop_path2"):
        rates = [getattr(getattr(block, path), "drop_prob", 0.0) for block in blocks]
        assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])


def test_early_blocks_are_given_out_beside_the_last(randomize):
    encoder = randomize(make_encoder(early_blocks=[1, 2]))
    images = random_images(3, 5)
    found = encoder(images)
    assert set(found) == {"block1", "block2", "last_feat"}
    for depth, name in enumerate(("block1", "block2", "last_feat"), start=1):
        shallow = randomize(make_encoder(depth=depth))
        shallow.load_state_dict(encoder.state_dict(), strict=False)
        assert torch.equal(found[name], shallow(images)["last_feat"]), name
        shape = encoder.output_shape()[name]
        assert (shape.channels, shape.stride) == (16, PATCH)


@pytest.mark.parametrize("number", [0, 4, 24])
def test_an_early_block_must_exist(number):
    with pytest.raises(UserError, match=r"early_blocks=.* 1 to 3"):
        make_encoder(early_blocks=[number])


# The grid of pre-training keeps its positions as they are; (2, 8) has as many patches.
@pytest.mark.parametrize(("grid", "resized"), [((4, 4), False), ((3, 7), True), ((2, 8), True)])
def test_offset_of_the_positions(randomize, reference, grid, resized):
    encoder = randomize(make_encoder(interpolate_offset=0.1))
    image = random_images(*grid)[:1]
    state = encoder.state_dict()
    table = state["pos_embed"][:, 1:]
    if resized:
        factor = tuple((side + 0.1) / 4 for side in grid)
        table = table.reshape(1, 4, 4, -1).permute(0, 3, 1, 2)
        table = interpolate(table, scale_factor=factor, mode="bicubic")
        table = table.flatten(2).transpose(1, 2)
    kernel = state["patch_embed.proj.weight"].flatten(1)
    tokens = reference.patches(image[0], PATCH).flatten(1) @ kernel.T
    expected = tokens + state["patch_embed.proj.bias"] + table[0]
    torch.testing.assert_close(encoder.embed(image)[0], expected)
