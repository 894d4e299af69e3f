import pytest
import torch
from detectron2.modeling.backbone import SimpleFeaturePyramid
from detectron2.modeling.backbone.fpn import LastLevelMaxPool
from detectron2.structures import ImageList
from torch.nn import functional as F

from imted.modeling import EncoderPyramid, MAEEncoder, ReleasedPyramid


def make_pyramid(kind: type = EncoderPyramid, depth: int = 1, **kwargs):
    blocks = range(1, depth)
    net = MAEEncoder(
        embed_dim=16, depth=depth, num_heads=2, pretrain_img_size=64, early_blocks=blocks
    )
    kwargs = dict(top_block=LastLevelMaxPool(), norm="LN", in_feature="last_feat") | kwargs
    return kind(
        net=net,
        out_channels=12,
        scale_factors=(4.0, 2.0, 1.0, 0.5),
        **kwargs,
    )


def random_images(height: int = 64, width: int = 96) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 3, height, width, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("top_block", [LastLevelMaxPool(), None])
def test_levels_equal_detectron2s(randomize, top_block):
    theirs = randomize(make_pyramid(SimpleFeaturePyramid, top_block=top_block))
    ours = make_pyramid(top_block=top_block).double()
    ours.load_state_dict(theirs.state_dict())
    expected = theirs(random_images())
    found = ours(random_images())
    assert list(found) == [*expected, "last_feat"]
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=0)


def test_last_feat_is_the_encoders_own_output(randomize):
    pyramid = randomize(make_pyramid())
    outputs = []
    pyramid.net.register_forward_hook(lambda net, args, output: outputs.append(output))
    assert pyramid(random_images())["last_feat"] is outputs[0]["last_feat"]
    assert len(outputs) == 1  # the encoder runs once


@pytest.mark.parametrize("kind", [EncoderPyramid, ReleasedPyramid])
def test_stated_shapes_are_the_real_ones(kind):
    pyramid = make_pyramid(kind, norm="BN" if kind is ReleasedPyramid else "LN").double()
    features = pyramid(random_images())
    shapes = pyramid.output_shape()
    assert list(shapes) == ["p2", "p3", "p4", "p5", "p6", "last_feat"]
    assert [s.stride for s in shapes.values()] == [4, 8, 16, 32, 64, 16]
    for name, shape in shapes.items():
        size = (-(-64 // shape.stride), -(-96 // shape.stride))
        assert features[name].shape == (2, shape.channels, *size), name


def test_any_image_is_padded_to_what_the_levels_need():
    """Without padding the patch embedding would drop the last rows and columns unnoticed."""
    pyramid = make_pyramid()
    images = ImageList.from_tensors(
        [torch.rand(3, 50, 70)], pyramid.size_divisibility, 0.0, pyramid.padding_constraints
    )
    assert images.tensor.shape == (1, 3, 64, 96)


@pytest.mark.parametrize("kind", [EncoderPyramid, ReleasedPyramid])
def test_levels_may_read_an_earlier_block_than_the_box_decoder(randomize, kind):
    kwargs = dict(depth=3, norm="BN")
    early = randomize(
        make_pyramid(kind, in_feature="block2", encoder_feature="last_feat", **kwargs)
    )
    last = make_pyramid(kind, **kwargs).double().eval()
    last.load_state_dict(early.state_dict())
    features, expected = early(random_images()), early.net(random_images())
    assert list(features) == ["p2", "p3", "p4", "p5", "p6", "last_feat"]
    assert torch.equal(features["last_feat"], expected["last_feat"])
    # With no more blocks than two, the last one is what the levels read.
    del last.net.blocks[2], last.net.block_of["block2"]
    last.net.block_of["last_feat"] = 2
    for name, value in last(random_images()).items():
        assert torch.equal(features[name], value) == (name != "last_feat"), name


def channel_norm(x, state, prefix):
    """Layer norm over the channels of maps (N, C, H, W), as mmcv's: epsilon 1e-5."""
    weight, bias = state[f"{prefix}.weight"], state[f"{prefix}.bias"]
    return F.layer_norm(x.permute(0, 2, 3, 1), weight.shape, weight, bias, 1e-5).permute(0, 3, 1, 2)


def level(x, state, prefix, index):
    """Convolution 1 x 1, norm, convolution 3 x 3, norm."""
    x = F.conv2d(x, state[f"{prefix}.{index}.weight"])
    x = channel_norm(x, state, f"{prefix}.{index}.norm")
    x = F.conv2d(x, state[f"{prefix}.{index + 1}.weight"], padding=1)
    return channel_norm(x, state, f"{prefix}.{index + 1}.norm")


@pytest.mark.parametrize("norm", ["BN", "SyncBN"])
def test_published_pyramid_is_the_one_written_out(randomize, norm):
    pyramid = randomize(make_pyramid(ReleasedPyramid, norm=norm))
    generator = torch.Generator().manual_seed(2)
    pyramid.simfp_2[1].running_mean.normal_(generator=generator)
    pyramid.simfp_2[1].running_var.uniform_(0.5, 2, generator=generator)
    found = pyramid(random_images())

    state, x = pyramid.state_dict(), found["last_feat"]

    def double(x, prefix):
        weight, bias = state[f"{prefix}.weight"], state[f"{prefix}.bias"]
        assert weight.shape[:2] == (16, 16)  # full width
        return F.conv_transpose2d(x, weight, bias, stride=2)

    fine = double(x, "simfp_2.0")
    statistics = [state[f"simfp_2.1.{key}"] for key in ("running_mean", "running_var")]
    affine = [state[f"simfp_2.1.{key}"] for key in ("weight", "bias")]
    fine = double(F.gelu(F.batch_norm(fine, *statistics, *affine, eps=1e-5)), "simfp_2.3")
    coarse = level(F.max_pool2d(x, 2), state, "simfp_5", 1)
    expected = {
        "p2": level(fine, state, "simfp_2", 4),
        "p3": level(double(x, "simfp_3.0"), state, "simfp_3", 1),
        "p4": level(x, state, "simfp_4", 0),
        "p5": coarse,
        "p6": coarse[:, :, ::2, ::2],
    }
    assert found.keys() == {*expected, "last_feat"}
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)
    # The convolutions of the levels have no bias.
    biases = {key for key in state if key.startswith("simfp") and key.endswith(".bias")}
    upsampling = {"simfp_2.0.bias", "simfp_2.1.bias", "simfp_2.3.bias", "simfp_3.0.bias"}
    assert {key for key in biases if "norm" not in key} == upsampling
