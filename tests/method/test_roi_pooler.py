import pytest
import torch
from detectron2.modeling.poolers import ROIPooler as D2ROIPooler
from detectron2.modeling.poolers import assign_boxes_to_levels
from detectron2.structures import Boxes
from torchvision.ops import roi_align

from imted.modeling import roi_pooler
from imted.modeling.roi_pooler import ROIPooler, SeparableROIAlign

SIDE = 160  # of the images, in pixels


def random_rois(count=40, maps=3, seed=0):
    """Boxes of all sizes, some beyond the image's border, some empty, in any order of maps."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * (SIDE + 40) - 20
    size = torch.rand(count, 2, generator=generator) * SIDE
    size[:3] = 0
    number = torch.randint(maps, (count, 1), generator=generator)
    return torch.cat([number, corner, corner + size], dim=1).double()


def random_maps(height=10, width=12, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(3, 5, height, width, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("sampling_ratio", [0, 1, 2, 3])
@pytest.mark.parametrize("resolution", [7, 14])
@pytest.mark.parametrize("stride", [4, 16])
def test_values_and_gradients_are_torchvisions(sampling_ratio, resolution, stride):
    ours, theirs = (random_maps().requires_grad_() for _ in range(2))
    rois = random_rois()
    align = SeparableROIAlign((resolution, resolution), 1 / stride, sampling_ratio, True)
    pooled = align(ours, rois)
    expected = roi_align(theirs, rois, (resolution, resolution), 1 / stride, sampling_ratio, True)
    torch.testing.assert_close(pooled, expected, rtol=0, atol=1e-12)
    weights = torch.randn(pooled.shape, generator=torch.Generator().manual_seed(2)).double()
    (pooled * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=1e-12)


def test_it_is_detectron2s_pooler():
    generator = torch.Generator().manual_seed(0)
    features = [
        torch.randn(2, 4, SIDE // s, SIDE // s, generator=generator) for s in (4, 8, 16, 32)
    ]
    boxes = []
    for count in (7, 0):
        corner = torch.rand(count, 2, generator=generator) * 100
        size = 60 * torch.rand(count, 2, generator=generator)
        boxes.append(Boxes(torch.cat([corner, corner + size], dim=1)))
    # Boxes of all four levels.
    settings = dict(scales=(1 / 4, 1 / 8, 1 / 16, 1 / 32), canonical_box_size=24)
    ours = ROIPooler(7, sampling_ratio=0, **settings)
    theirs = D2ROIPooler(7, sampling_ratio=0, pooler_type="ROIAlignV2", **settings)
    used = assign_boxes_to_levels(boxes, theirs.min_level, theirs.max_level, 24, 4)
    assert set(used.tolist()) == {0, 1, 2, 3}
    trained = [feature.requires_grad_() for feature in features]  # where ours computes otherwise
    assert all(isinstance(pooler, SeparableROIAlign) for pooler in ours.level_poolers)
    torch.testing.assert_close(ours(trained, boxes), theirs(trained, boxes))
    assert not ours.state_dict()


def test_no_rois():
    maps = random_maps().requires_grad_()
    pooled = SeparableROIAlign((7, 7), 1 / 16, 0, True)(maps, torch.zeros(0, 5).double())
    assert pooled.shape == (0, 5, 7, 7)


def test_large_maps_traces_and_inference_take_torchvisions_kernel(monkeypatch):
    def fail(*_):
        raise AssertionError

    align = SeparableROIAlign((7, 7), 1 / 4, 0, True)
    maps, rois = random_maps(60, 60).float().requires_grad_(), random_rois().float()
    expected = roi_align(maps, rois, (7, 7), 1 / 4, 0, True)
    monkeypatch.setattr(roi_pooler, "bin_weights", fail)
    assert torch.equal(align(maps, rois), expected)
    traced = torch.jit.trace(align, (random_maps().float(), rois), check_trace=False)
    small = random_maps(seed=5).float()
    for pool in (traced, align):  # no gradient is needed
        assert torch.equal(pool(small, rois), roi_align(small, rois, (7, 7), 1 / 4, 0, True))


def test_averages_are_taken_in_full_precision_under_autocast():
    rois = random_rois().float()
    align = SeparableROIAlign((7, 7), 1 / 16, 0, True)
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.bfloat16, 0.01)):
        maps = random_maps().to(dtype).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            pooled = align(maps, rois)
        expected = roi_align(maps.float(), rois, (7, 7), 1 / 16, 0, True).to(dtype)
        assert pooled.dtype == dtype
        torch.testing.assert_close(pooled, expected, rtol=tolerance, atol=tolerance)
