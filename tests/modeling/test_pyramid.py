import pytest
import torch
from detectron2.modeling.backbone import SimpleFeaturePyramid
from detectron2.modeling.backbone.fpn import LastLevelMaxPool
from detectron2.structures import ImageList

from imted.modeling import EncoderPyramid, MAEEncoder


def make_pyramid(kind: type = EncoderPyramid, **kwargs):
    net = MAEEncoder(embed_dim=16, depth=1, num_heads=2, pretrain_img_size=64)
    kwargs = dict(top_block=LastLevelMaxPool(), norm="LN") | kwargs
    return kind(
        net=net,
        in_feature="last_feat",
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


def test_stated_shapes_are_the_real_ones():
    pyramid = make_pyramid().double()
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
