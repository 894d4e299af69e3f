import numpy as np
import pytest
import torch
from detectron2.config import LazyConfig, instantiate
from fixtures.weights import official_weights
from paths import ROOT

from imted.modeling.masked_autoencoder import patchify, unpatchify

PATCH = 16
MEAN, STD = np.array([120.0, 110.0, 100.0]), np.array([50.0, 60.0, 70.0])  # of the small one


def random_batch(count: int = 2, height: int = 64, width: int = 64) -> list[dict]:
    generator = torch.Generator().manual_seed(1)
    shape = (3, height, width)
    return [
        {"image": torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)}
        for _ in range(count)
    ]


def random_images(rows: int = 4, columns: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    shape = (2, 3, rows * PATCH, columns * PATCH)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def test_patchify_by_hand():
    """Two rows and three columns of 2 x 2 patches; the channels of a pixel lie together."""
    image = torch.arange(3 * 4 * 6.0).reshape(1, 3, 4, 6)
    patches = patchify(image, 2)
    assert patches.shape == (1, 6, 12)
    # Row 1, column 2: the pixels (2, 4), (2, 5), (3, 4), (3, 5); a channel is 24 values.
    first = [2 * 6 + 4, 2 * 6 + 5, 3 * 6 + 4, 3 * 6 + 5]
    expected = [24 * channel + pixel for pixel in first for channel in range(3)]
    assert patches[0, 1 * 3 + 2].tolist() == expected
    assert torch.equal(unpatchify(patches, 2, (2, 3)), image)


@pytest.mark.parametrize("norm_pix_loss", [True, False])
def test_loss_is_the_mean_square_over_hidden_patches(small_mae, norm_pix_loss):
    mae = small_mae(norm_pix_loss=norm_pix_loss)
    batch = random_batch()
    torch.manual_seed(5)
    loss = mae(batch)
    assert set(loss) == {"loss_reconstruction"}

    pixels = [(item["image"].numpy().transpose(1, 2, 0) - MEAN) / STD for item in batch]
    images = torch.tensor(np.stack(pixels).transpose(0, 3, 1, 2), dtype=torch.float32)
    torch.manual_seed(5)
    noise = torch.rand(2, 16)
    prediction = mae.reconstruct(images, noise)[0].detach().numpy().astype(np.float64)
    errors = []
    for n in range(2):
        hidden = np.argsort(noise[n].numpy())[4:]  # a quarter of 16 stays visible
        for place in hidden:
            row, column = divmod(int(place), 4)
            rows = slice(row * PATCH, (row + 1) * PATCH)
            columns = slice(column * PATCH, (column + 1) * PATCH)
            target = pixels[n][rows, columns].reshape(-1)
            if norm_pix_loss:
                variance = ((target - target.mean()) ** 2).sum() / (len(target) - 1)
                target = (target - target.mean()) / np.sqrt(variance + 1e-6)
            errors += list((prediction[n, place] - target) ** 2)
    assert len(errors) == 2 * 12 * PATCH**2 * 3
    assert loss["loss_reconstruction"].item() == pytest.approx(np.mean(errors), rel=1e-5)


@pytest.mark.parametrize("grid", [(4, 4), (2, 8)])
def test_prediction_equals_a_masked_autoencoder_written_out(small_mae, randomize, reference, grid):
    mae = randomize(small_mae())
    state = official_weights(mae)
    images = random_images(*grid)
    noise = torch.rand(2, 16, generator=torch.Generator().manual_seed(3))
    prediction, hidden = mae.reconstruct(images, noise)
    positions = reference.positions(state["decoder_pos_embed"], grid)
    positions = torch.cat([state["decoder_pos_embed"][0, :1], positions])
    for n in range(2):
        visible = sorted(range(16), key=lambda place: noise[n, place])[:4]
        tokens = reference.patch_tokens(images[n], state, PATCH, grid)
        cls_token = state["cls_token"][0] + state["pos_embed"][0, :1]
        tokens = torch.cat([cls_token, *(tokens[place][None] for place in visible)])
        tokens = reference.blocks(tokens, state, "blocks", 3, 2)
        tokens = reference.layer_norm(tokens, state, "norm")
        tokens = reference.linear(tokens, state, "decoder_embed")

        full = [tokens[0]] + [state["mask_token"][0, 0]] * 16
        for token, place in zip(tokens[1:], visible, strict=True):
            full[1 + place] = token
        tokens = torch.stack(full) + positions
        tokens = reference.blocks(tokens, state, "decoder_blocks", 2, 4)
        tokens = reference.layer_norm(tokens, state, "decoder_norm")
        expected = reference.linear(tokens, state, "decoder_pred")[1:]
        torch.testing.assert_close(prediction[n], expected)
        assert hidden[n].tolist() == [place not in visible for place in range(16)]


# 15 patches: floor(3.75) stay visible.
@pytest.mark.parametrize(("grid", "ratio", "hidden"), [((3, 5), 0.75, 12), ((4, 4), 0.5, 8)])
def test_number_of_hidden_patches(small_mae, grid, ratio, hidden):
    mae = small_mae(mask_ratio=ratio)
    prediction, mask = mae.reconstruct(random_images(*grid).float())
    assert prediction.shape == (2, grid[0] * grid[1], PATCH**2 * 3)
    assert mask.sum(dim=1).tolist() == [hidden, hidden]
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    assert not torch.equal(mask[0], mask[1])


def test_hidden_pixels_are_not_seen_and_visible_ones_are(small_mae, randomize):
    mae = randomize(small_mae())
    images = random_images()
    noise = torch.rand(2, 16, generator=torch.Generator().manual_seed(3))
    prediction, mask = mae.reconstruct(images, noise)
    patches = patchify(images, PATCH)

    changed = torch.where(mask[..., None] == 1, patches + 1 + patches.square(), patches)
    other = unpatchify(changed, PATCH, (4, 4))
    assert torch.equal(mae.reconstruct(other, noise)[0], prediction)

    changed = torch.where(mask[..., None] == 0, patches + 1 + patches.square(), patches)
    other = unpatchify(changed, PATCH, (4, 4))
    assert not torch.allclose(mae.reconstruct(other, noise)[0], prediction, atol=1e-3)


def test_trains_everything_but_the_positions(small_mae):
    mae = small_mae()
    mae(random_batch())["loss_reconstruction"].backward()
    without = {name for name, p in mae.named_parameters() if p.grad is None or not p.grad.any()}
    assert without == {"encoder.pos_embed", "decoder.decoder_pos_embed"}


def block_shapes(prefix: str, dim: int) -> dict[str, tuple[int, ...]]:
    shapes = {f"{prefix}.norm{i}.{kind}": (dim,) for i in (1, 2) for kind in ("weight", "bias")}
    for layer, out, into in (
        ("attn.qkv", 3 * dim, dim),
        ("attn.proj", dim, dim),
        ("mlp.fc1", 4 * dim, dim),
        ("mlp.fc2", dim, 4 * dim),
    ):
        shapes[f"{prefix}.{layer}.weight"] = (out, into)
        shapes[f"{prefix}.{layer}.bias"] = (out,)
    return shapes


@pytest.mark.parametrize(
    ("size", "dim", "depth", "decoder_dim", "decoder_depth"),
    [("base", 768, 12, 512, 8), ("large", 1024, 24, 512, 8), ("small", 384, 12, 256, 4)],
)
def test_names_and_shapes_are_those_of_the_official_checkpoints(
    size, dim, depth, decoder_dim, decoder_depth
):
    expected = {
        "cls_token": (1, 1, dim),
        "pos_embed": (1, 197, dim),
        "mask_token": (1, 1, decoder_dim),
        "decoder_pos_embed": (1, 197, decoder_dim),
        "patch_embed.proj.weight": (dim, 3, 16, 16),
        "patch_embed.proj.bias": (dim,),
        "norm.weight": (dim,),
        "norm.bias": (dim,),
        "decoder_embed.weight": (decoder_dim, dim),
        "decoder_embed.bias": (decoder_dim,),
        "decoder_norm.weight": (decoder_dim,),
        "decoder_norm.bias": (decoder_dim,),
        "decoder_pred.weight": (768, decoder_dim),
        "decoder_pred.bias": (768,),
    }
    for i in range(depth):
        expected |= block_shapes(f"blocks.{i}", dim)
    for i in range(decoder_depth):
        expected |= block_shapes(f"decoder_blocks.{i}", decoder_dim)
    cfg = LazyConfig.load(str(ROOT / f"configs/pretrain/mae_vit_{size}.py"))
    with torch.device("meta"):
        state = official_weights(instantiate(cfg.model))
    assert {name: tuple(value.shape) for name, value in state.items()} == expected
