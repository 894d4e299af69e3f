import pytest
import torch
from fixtures.weights import official_weights
from timm.models.vision_transformer import Block
from torch.nn.functional import interpolate

from imted.modeling import DecoderBoxHead
from imted.modeling.transformer_blocks import LayerNorm

DIM, DEPTH, HEADS, GRID = 16, 2, 4, 4  # of the small decoder in tests/conftest.py
ENCODER_DIM = 32
NEW = {"box_norm.weight", "box_norm.bias"}


@pytest.fixture
def migrated(small_mae, randomize):
    """A masked autoencoder with random weights, and a box head that got them by their names."""
    mae = randomize(small_mae())
    head = DecoderBoxHead(
        encoder_dim=ENCODER_DIM, dim=DIM, depth=DEPTH, num_heads=HEADS, grid_size=GRID
    ).double()
    missing, _ = head.load_state_dict(official_weights(mae), strict=False)
    assert set(missing) == NEW
    return mae, head.eval()


def random_rois(count: int, side: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, ENCODER_DIM, side, side, generator=generator, dtype=torch.float64)


def decode(head: DecoderBoxHead, rois: torch.Tensor) -> torch.Tensor:
    """The decoded tokens (R, L, C) that the head's vector is the mean of, by timm's own blocks."""
    tokens = head.embed_rois(rois)
    for ours in head.decoder_blocks:
        block = Block(
            tokens.shape[2],
            ours.attn.num_heads,
            qkv_bias=True,
            norm_layer=LayerNorm,
            drop_path=getattr(ours.drop_path1, "drop_prob", 0.0),
        ).to(tokens)
        block.train(head.training)
        assert set(block.state_dict()) == set(ours.state_dict())
        tokens = torch.func.functional_call(block, dict(ours.named_parameters()), tokens)
    return tokens


def decode_written_out(reference, state, tokens, positions):
    """What MAE's decoder does before its own last norm: (L, D) to (L, C)."""
    tokens = reference.layer_norm(tokens, state, "norm")
    tokens = reference.linear(tokens, state, "decoder_embed") + positions
    return reference.blocks(tokens, state, "decoder_blocks", DEPTH, HEADS)


def test_masked_autoencoders_decoder_is_the_one_written_out(migrated, reference):
    """With nothing hidden, the reconstruction decoder runs over all tokens, class token too."""
    mae, _ = migrated
    state = official_weights(mae)
    generator = torch.Generator().manual_seed(2)
    shape = (2, 1 + GRID**2, ENCODER_DIM)
    encoded = torch.randn(shape, generator=generator, dtype=torch.float64)
    order = torch.arange(GRID**2).expand(2, -1)
    prediction = mae.decoder(encoded, order, (GRID, GRID))
    for tokens, found in zip(encoded, prediction, strict=True):
        tokens = decode_written_out(reference, state, tokens, state["decoder_pos_embed"][0])
        tokens = reference.layer_norm(tokens, state, "decoder_norm")
        expected = reference.linear(tokens, state, "decoder_pred")[1:]
        torch.testing.assert_close(found, expected)


# 4 x 4 is the grid of pre-training; 7 x 7 what RoIs are pooled to.
@pytest.mark.parametrize("side", [GRID, 7])
def test_migrated_head_computes_what_the_masked_autoencoders_decoder_computes(
    migrated, reference, side
):
    mae, head = migrated
    rois = random_rois(3, side)
    decoded = decode(head, rois)
    assert decoded.shape == (3, side**2, DIM)
    state = official_weights(mae)
    positions = reference.positions(state["decoder_pos_embed"], (side, side))
    for roi, found in zip(rois, decoded, strict=True):
        tokens = torch.stack([roi[:, row, col] for row in range(side) for col in range(side)])
        expected = decode_written_out(reference, state, tokens, positions)
        # Positions are resized in single precision.
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)

    tokens = rois.flatten(2).transpose(1, 2)
    in_mae = mae.decoder.decoder_blocks(mae.decoder.embed(tokens) + positions)
    torch.testing.assert_close(decoded, in_mae, atol=1e-5, rtol=1e-5)


def test_vector_is_the_norm_of_the_mean(migrated, randomize, reference):
    _, head = migrated
    randomize(head.box_norm)
    rois = random_rois(3, 7)
    vectors = head(rois)
    assert vectors.shape == (3, head.output_shape.channels)
    mean = decode(head, rois).sum(dim=1) / 49
    torch.testing.assert_close(vectors, reference.layer_norm(mean, head.state_dict(), "box_norm"))


def test_positions_are_fixed():
    head = DecoderBoxHead(encoder_dim=8, dim=8, depth=1, num_heads=2)
    frozen = {name for name, p in head.named_parameters() if not p.requires_grad}
    assert frozen == {"decoder_pos_embed"}


@pytest.mark.parametrize("use_act_checkpoint", [False, True])
def test_no_rois(use_act_checkpoint):
    head = DecoderBoxHead(
        encoder_dim=8, dim=8, depth=2, num_heads=2, use_act_checkpoint=use_act_checkpoint
    )
    vectors = head(torch.zeros(0, 8, 7, 7))
    assert vectors.shape == (0, 8)
    vectors.sum().backward()
    for name, parameter in head.named_parameters():
        assert not parameter.requires_grad or not parameter.grad.any(), name


# Even the table's own grid is resized.
@pytest.mark.parametrize("side", [GRID, 7])
def test_offset_of_the_heads_positions(migrated, reference, side):
    _, head = migrated
    head.interpolate_offset = 0.1
    rois = random_rois(2, side)
    state = head.state_dict()
    table = state["decoder_pos_embed"][:, 1:].reshape(1, GRID, GRID, DIM).permute(0, 3, 1, 2)
    resized = interpolate(table, scale_factor=(side + 0.1) / GRID, mode="bicubic")
    positions = resized[0].flatten(1).T
    assert side != GRID or not torch.allclose(resized, table, atol=1e-3)
    for roi, found in zip(rois, decode(head, rois), strict=True):
        expected = decode_written_out(reference, state, roi.flatten(1).T, positions)
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("use_act_checkpoint", [False, True])
@pytest.mark.parametrize(("drop_path_rate", "count"), [(0.0, 5), (0.5, 5), (0.0, 1), (0.0, 0)])
def test_the_last_block_gives_the_mean_of_timms(
    randomize, use_act_checkpoint, drop_path_rate, count
):
    """The vector and all gradients are those of the mean over what the decoder puts out."""
    head = DecoderBoxHead(
        encoder_dim=12,
        dim=16,
        depth=3,
        num_heads=4,
        drop_path_rate=drop_path_rate,
        use_act_checkpoint=use_act_checkpoint,
    )
    randomize(head.double().train())
    generator = torch.Generator().manual_seed(0)
    rois = torch.randn(count, 12, 7, 5, generator=generator, dtype=torch.float64)
    rois.requires_grad_()
    found = []
    for forward in (
        head,
        lambda x: head.box_norm(decode(head, x).mean(dim=1)),
    ):
        torch.manual_seed(3)  # of drop path
        vectors = forward(rois)
        inputs = [rois, *(p for p in head.parameters() if p.requires_grad)]
        found.append((vectors, torch.autograd.grad(vectors.sin().sum(), inputs)))
    torch.testing.assert_close(found[0], found[1], rtol=1e-10, atol=1e-12)


def test_hooks_of_every_module_in_the_last_block_run(migrated):
    """Such as those with which tools count operations or draw attention."""
    _, head = migrated
    called = set()
    for name, module in head.decoder_blocks[-1].named_modules():
        module.register_forward_hook(lambda *_, name=name: called.add(name))
    head(random_rois(2, 7))
    # The fused kernel drops attention weights itself.
    assert set(dict(head.decoder_blocks[-1].named_modules())) - called <= {"attn.attn_drop"}


def test_a_head_for_other_features_starts_its_first_layers_anew(migrated):
    _, head = migrated
    before = {name: value.clone() for name, value in head.state_dict().items()}
    head.float().read(12)
    after = head.state_dict()
    assert after["norm.weight"].shape == (12,) and after["decoder_embed.weight"].shape == (DIM, 12)
    kept = {name for name in before if not name.startswith(("norm.", "decoder_embed."))}
    assert all(torch.equal(after[name], before[name].float()) for name in kept)
    assert head(torch.randn(2, 12, 7, 7)).shape == (2, DIM)
