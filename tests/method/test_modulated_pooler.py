import pytest
import torch
from detectron2.modeling.poolers import ROIPooler, assign_boxes_to_levels
from detectron2.structures import Boxes

from imted.modeling import ModulatedPooler

HEIGHT, WIDTH = 96, 128
STRIDES = (4, 8, 16, 32)
DIM, CHANNELS = 10, 6


def roi_align(strides) -> ROIPooler:
    scales = [1 / stride for stride in strides]
    return ROIPooler(7, scales, 0, "ROIAlignV2", canonical_box_size=48)


def make_pooler(scale: float | None = None, **options) -> ModulatedPooler:
    torch.manual_seed(0)
    pooler = ModulatedPooler(
        encoder_pooler=roi_align([16]),
        pyramid_pooler=roi_align(STRIDES),
        encoder_dim=DIM,
        pyramid_channels=CHANNELS,
        **options,
    ).double()
    if scale is not None:
        torch.nn.init.normal_(pooler.scale, std=scale)
    return pooler


def make_features(requires_grad: bool = False) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [
        torch.randn(
            (2, channels, HEIGHT // stride, WIDTH // stride),
            generator=generator,
            dtype=torch.float64,
        ).requires_grad_(requires_grad)
        for channels, stride in [*((CHANNELS, s) for s in STRIDES), (DIM, 16)]
    ]


def make_boxes() -> list[Boxes]:
    """Boxes inside two images: tiny and huge, touching each border and every corner."""
    tiny, small, mid = 1.5, 20.0, 45.0
    boxes = [[0, 0, WIDTH, HEIGHT], [40, 30, 40 + tiny, 30 + tiny], [30.3, 20.7, 100.2, 80.9]]
    for side in (tiny, small, mid):
        x, y = (WIDTH - side) / 2, (HEIGHT - side) / 2
        right, bottom = WIDTH - side, HEIGHT - side
        corners = [(0, y), (right, y), (x, 0), (x, bottom)]
        corners += [(0, 0), (right, 0), (0, bottom), (right, bottom)]
        boxes += [[cx, cy, cx + side, cy + side] for cx, cy in corners]
    boxes += [[0, 50, WIDTH, 52], [60, 0, 61, HEIGHT]]  # from border to border
    boxes += [[0, 20, 0, 60], [30, HEIGHT, 70, HEIGHT], [50, 40, 50, 40]]  # without area
    boxes = torch.tensor(boxes, dtype=torch.float64)
    return [Boxes(boxes), Boxes(boxes.flip(0))]


def test_the_boxes_cover_all_levels():
    levels = assign_boxes_to_levels(make_boxes(), 2, 5, 48, 4)
    assert set(levels.tolist()) == {0, 1, 2, 3}


def test_at_initialisation_equals_single_scale_roi_align():
    features, boxes = make_features(), make_boxes()
    expected = roi_align([16])(features[-1:], boxes)
    assert torch.equal(make_pooler()(features, boxes), expected)


def test_pooling_before_the_projection_equals_pooling_after_it():
    """Both are linear, and a bilinear sample's weights sum to 1 wherever the box is inside."""
    pooler, features, boxes = make_pooler(scale=1.0), make_features(), make_boxes()
    weight = pooler.projection.weight[:, :, 0, 0]
    projected = [
        torch.einsum("dc,nchw->ndhw", weight, level) + pooler.projection.bias[:, None, None]
        for level in features[:-1]
    ]
    multi_scale = roi_align(STRIDES)(projected, boxes)
    expected = roi_align([16])(features[-1:], boxes)
    for channel in range(DIM):  # a scale for each channel
        expected[:, channel] += pooler.scale[channel] * multi_scale[:, channel]
    torch.testing.assert_close(pooler(features, boxes), expected, rtol=1e-10, atol=1e-10)


def gradients(pooler: ModulatedPooler) -> dict[str, torch.Tensor]:
    features = make_features(requires_grad=True)
    pooler.zero_grad()
    pooler(features, make_boxes()).square().sum().backward()
    return {
        "scale": pooler.scale.grad,
        "projection.weight": pooler.projection.weight.grad,
        "projection.bias": pooler.projection.bias.grad,
        **{f"p{i}": feature.grad for i, feature in enumerate(features[:-1], 2)},
        "encoder": features[-1].grad,
    }


def test_gradients_reach_the_scale_first_and_the_pyramid_once_it_moves():
    pooler = make_pooler()
    at_start = gradients(pooler)
    moving = {name for name, grad in at_start.items() if grad.abs().max() > 0}
    assert moving == {"scale", "encoder"}
    assert (at_start["scale"] != 0).all()
    torch.optim.SGD(pooler.parameters(), lr=1e-3).step()
    assert all(grad.abs().max() > 0 for grad in gradients(pooler).values())


@pytest.mark.parametrize("scale", [None, 1.0])
def test_no_boxes(scale):
    boxes = [Boxes(torch.empty(0, 4, dtype=torch.float64))] * 2
    pooler = make_pooler(scale)
    pooled = pooler(make_features(), boxes)
    assert pooled.shape == (0, DIM, 7, 7)
    pooled.sum().backward()
    assert all(p.grad is not None for p in pooler.parameters())


@pytest.mark.parametrize("level", range(4))
def test_projecting_maps_first_is_the_same(level):
    """As the paper draws it: every output and gradient, whichever level the boxes come from."""
    features, boxes = make_features(requires_grad=True), make_boxes()
    pooler = make_pooler(scale=1.0)

    def projecting_first():
        *pyramid, encoder_feature = features
        single_scale = pooler.encoder_pooler([encoder_feature], boxes)
        multi_scale = pooler.pyramid_pooler([pooler.projection(p) for p in pyramid], boxes)
        return single_scale + pooler.scale[:, None, None] * multi_scale

    found = []
    for pooled in (pooler(features, boxes), projecting_first()):
        inputs = [*pooler.parameters(), features[level]]
        found.append([pooled, *torch.autograd.grad(pooled.sin().sum(), inputs)])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_scale_for_all_channels_is_the_same_for_each():
    single = make_pooler(scale_init=0.5, scale_per_channel=False)
    each = make_pooler(scale_init=0.5)
    assert single.scale.tolist() == [0.5] and each.scale.tolist() == [0.5] * DIM
    features, boxes = make_features(), make_boxes()
    pooled = single(features, boxes)
    torch.testing.assert_close(pooled, each(features, boxes))
    pooled.sum().backward()
    each(features, boxes).sum().backward()
    torch.testing.assert_close(single.scale.grad, each.scale.grad.sum()[None])
