import math

import numpy as np
import pytest
import torch
from detectron2.config import instantiate
from detectron2.structures import Boxes, ImageList
from safetensors.torch import load_file, save_file
from torch.nn.functional import layer_norm

from imted.checkpoint import load_checkpoint
from imted.config.load import load_config
from imted.errors import UserError
from imted.modeling import RandomRegions
from imted.modeling.migration import to_mae
from imted.training.freezing import freeze

SIDE = 96
# channel = constant + by column + by row, in normalised pixels
RAMPS = ((0.5, 0.02, -0.01), (-1.0, 0.0, 0.03), (0.0, -0.01, 0.02))


def ramp_image() -> torch.Tensor:
    """An image (1, 3, H, W) that is linear in both directions: RoIAlign reads it exactly."""
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    return torch.tensor(np.stack([c + a * x + b * y for c, a, b in RAMPS])[None]).float()


def batch(count: int = 2, side: int = SIDE) -> list[dict]:
    generator = torch.Generator().manual_seed(1)
    shape = (3, side, side)
    return [{"image": torch.randint(0, 256, shape, generator=generator)} for _ in range(count)]


def test_regions_lie_in_the_image_and_have_the_sizes_asked_for():
    regions = RandomRegions(regions_per_image=4000, min_size=8, max_size=32, max_aspect_ratio=2.0)
    torch.manual_seed(0)
    images = ImageList(torch.zeros(2, 3, 100, 200), [(100, 200), (90, 180)])
    proposals, losses = regions(images, {})
    assert losses == {}
    for item, (height, width) in zip(proposals, images.image_sizes, strict=True):
        boxes = item.proposal_boxes.tensor
        assert item.image_size == (height, width) and len(boxes) == 4000
        assert boxes.min() >= 0 and (boxes[:, 2:] <= torch.tensor([width, height])).all()
        w, h = (boxes[:, 2:] - boxes[:, :2]).T
        size, ratio = (w * h).sqrt().log(), (w / h).log()
        # Uniform in the logarithm: the ends, the means, and the deviation of (b - a) / sqrt(12).
        for values, low, high in ((size, 8, 32), (ratio, 0.5, 2)):
            low, high = math.log(low), math.log(high)
            assert low - 1e-3 <= values.min() and values.max() <= high + 1e-3
            assert values.mean() == pytest.approx((low + high) / 2, abs=0.03)
            assert values.std() == pytest.approx((high - low) / math.sqrt(12), rel=0.03)
        # Places are uniform over where the box fits, and nothing depends on another.
        x, y = boxes[:, 0] / (width - w), boxes[:, 1] / (height - h)
        for place in (x, y):
            assert place.mean() == pytest.approx(0.5, abs=0.02)
            assert place.std() == pytest.approx(1 / math.sqrt(12), rel=0.03)
        related = torch.corrcoef(torch.stack([x, y, size, ratio]))
        assert (related - torch.eye(4)).abs().max() < 0.08


def test_a_region_larger_than_its_image_is_as_large_as_it():
    regions = RandomRegions(regions_per_image=5, min_size=500, max_size=500)
    (proposals,), _ = regions(ImageList(torch.zeros(1, 3, 40, 60), [(40, 60)]), {})
    assert torch.allclose(proposals.proposal_boxes.tensor, torch.tensor([0.0, 0, 60, 40]))


@pytest.mark.parametrize("wrong", ["regions_per_image=0", "min_size=0", "max_size=7"])
def test_sizes_that_no_region_has_are_refused(wrong):
    name, _, value = wrong.partition("=")
    with pytest.raises(UserError, match=wrong):
        RandomRegions(**{"regions_per_image": 2, "min_size": 8, "max_size": 9, name: int(value)})


def test_the_target_is_the_regions_picture_by_hand(small_regions):
    """Of a linear image each pixel of the crop is its value in the middle of the pixel's bin."""
    heads = small_regions().roi_heads
    box = (10.0, 20.0, 10 + 42.0, 20 + 35.0)
    crops = heads.crops(ramp_image(), [Boxes(torch.tensor([box]))])
    assert crops.shape == (1, 7 * 7, 4 * 4 * 3)
    picture = np.empty((28, 28, 3))
    for row in range(28):
        for column in range(28):
            x, y = box[0] + (column + 0.5) * 42 / 28, box[1] + (row + 0.5) * 35 / 28
            picture[row, column] = [c + a * x + b * y for c, a, b in RAMPS]
    for token in range(49):
        row, column = divmod(token, 7)
        expected = picture[4 * row : 4 * row + 4, 4 * column : 4 * column + 4].reshape(-1)
        np.testing.assert_allclose(crops[0, token].numpy(), expected, atol=1e-4)
    normalized, mean, deviation = heads.normalized(crops)
    expected = (picture - picture.mean()) / math.sqrt(picture.var() + 0.01)
    np.testing.assert_allclose(normalized[0, 0, 0].item(), expected[0, 0, 0], atol=1e-4)
    assert normalized.mean().item() == pytest.approx(0, abs=1e-5)
    assert torch.allclose(normalized * deviation + mean, crops, atol=1e-5)


def test_the_loss_is_the_mean_square_over_all_pixels(small_regions):
    model = small_regions()
    torch.manual_seed(3)
    losses = model(batch())
    torch.manual_seed(3)
    images = model.preprocess_image(batch())
    features = model.backbone(images.tensor)
    proposals, _ = model.proposal_generator(images, features)
    boxes = [item.proposal_boxes for item in proposals]
    predicted = model.roi_heads.predict(features, boxes).detach().numpy()
    crops = model.roi_heads.crops(images.tensor, boxes).numpy()
    errors = [
        (p - (c - c.mean()) / math.sqrt(c.var() + 0.01)) ** 2
        for p, c in zip(predicted, crops, strict=True)
    ]
    assert losses.keys() == {"loss_regions"} and len(errors) == 2 * 24
    assert losses["loss_regions"].item() == pytest.approx(np.mean(errors), rel=1e-4)


def test_a_tokens_pixels_come_from_the_decoder_of_the_detector(small_regions, small_detector):
    """The decoder reads RoIs as the box head does; the one averages its tokens, the other not."""
    model, detector = small_regions(), small_detector()
    decoder, head = model.roi_heads.decoder, detector.roi_heads.box_head
    shared = {k: v for k, v in decoder.state_dict().items() if k in head.state_dict()}
    head.load_state_dict(shared, strict=False)
    rois = torch.randn(5, 32, 7, 7, generator=torch.Generator().manual_seed(0))
    tokens = decoder.decoder_blocks(decoder.embed_rois(rois))
    # Each token's own pixels, by a norm and a linear layer.
    state = model.roi_heads.prediction.state_dict()
    normed = layer_norm(tokens, (16,), state["norm.weight"], state["norm.bias"], 1e-6)
    expected = normed @ state["linear.weight"].T + state["linear.bias"]
    torch.testing.assert_close(model.roi_heads.decode(rois), expected, rtol=1e-5, atol=1e-5)
    averaged = head.decoder_blocks(head.embed_rois(rois))
    assert tokens.shape == (5, 49, 16)
    torch.testing.assert_close(tokens.mean(dim=1), averaged, rtol=1e-5, atol=1e-5)


@pytest.fixture
def regions_file(small_regions, tmp_path):
    """Save a model that reconstructs regions; return the path and the model."""
    model = small_regions(seed=4)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    path = str(tmp_path / "mae_final.safetensors")
    save_file(to_mae(model), path)
    return path, model.eval()


def modulated(model, images: torch.Tensor) -> torch.Tensor:
    boxes = [Boxes(torch.tensor([[3.0, 5, 40, 60], [20.0, 30, 33, 41], [0.0, 0, 96, 96]]))]
    features = model.backbone(images)
    heads = model.roi_heads
    return heads.box_pooler([features[name] for name in heads.box_in_features], boxes)


def test_detection_begins_with_the_features_that_pretraining_ended_with(
    regions_file, small_detector
):
    path, model = regions_file
    detector = small_detector(seed=1).eval()
    images = torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    assert not torch.allclose(modulated(detector, images), modulated(model, images))
    report = load_checkpoint(detector, path)
    assert torch.equal(modulated(detector, images), modulated(model, images))
    kept = {"mask_token", "decoder_norm", "decoder_pred", "regions"}
    assert {key.split(".")[0] for key in report.left_out} == kept
    assert set(report.left_out.values()) == {"serves pixel reconstruction only"}
    assert not any(name.startswith("backbone.") for name in report.fresh)
    rpn, predictor = "proposal_generator", "roi_heads.box_predictor"
    new = {".".join(name.split(".")[:2]) for name in report.fresh}
    assert {name for name in new if not name.startswith(rpn)} == {
        predictor,
        "roi_heads.box_head",  # its last norm, which is new in imTED
    }


def test_a_part_that_a_detector_lacks_is_left_out_by_name(regions_file, small_detector):
    path, _ = regions_file
    for variant, reason in (("integral", "no modulator here"), ("baseline", "no modulator here")):
        report = load_checkpoint(small_detector(variant), path)
        assert report.left_out["modulator.scale"] == reason
        assert "backbone.simfp_2.0.weight" in report.loaded


def test_a_pyramid_of_another_width_starts_at_random_and_its_modulator_too(
    regions_file, small_detector_config
):
    path, _ = regions_file
    cfg = small_detector_config()
    cfg.backbone.out_channels = 20
    detector = instantiate(cfg)
    report = load_checkpoint(detector, path)
    assert report.left_out["pyramid.simfp_2.4.weight"] == "the model's pyramid is of another width"
    assert report.left_out["modulator.scale"] == "the model's modulator is of another width"
    assert not detector.roi_heads.box_pooler.scale.any()


def test_a_modulator_without_its_whole_pyramid_starts_anew(regions_file, small_detector):
    """It reads what the pyramid gives, which would be noise."""
    path, _ = regions_file
    weights = load_file(path)
    del weights["pyramid.simfp_2.4.weight"]
    save_file(weights, path)
    detector = small_detector()
    report = load_checkpoint(detector, path)
    assert "modulator.scale" in report.left_out and "pyramid.simfp_2.0.weight" in report.left_out
    assert not detector.roi_heads.box_pooler.scale.any()


def test_a_masked_autoencoder_takes_the_file_as_a_mae(regions_file, small_mae):
    path, model = regions_file
    mae = small_mae()
    report = load_checkpoint(mae, path)
    assert not report.fresh
    weight = model.roi_heads.decoder.decoder_pred.weight
    assert torch.equal(mae.decoder.decoder_pred.weight, weight)


def test_a_maes_file_starts_it_and_its_own_goes_on(regions_file, small_regions, mae_file):
    report = load_checkpoint(small_regions(), mae_file()[0])
    assert {name.split(".")[1] for name in report.fresh if "backbone" not in name} == {
        "box_pooler",
        "prediction",
    }
    assert not load_checkpoint(small_regions(), regions_file[0]).fresh


def test_the_parts_that_the_mae_has_learnt_stay_and_all_others_train(small_regions):
    config = load_config("configs/pretrain/rois_vit_tiny.py")
    model = small_regions()
    freeze(model, list(config.train.frozen))
    model.proposal_generator.regions_per_image = 100  # some on each level of the pyramid
    model(batch(side=config.dataloader.train.mapper.image_size))["loss_regions"].backward()
    for name, parameter in model.named_parameters():
        is_mae = name.startswith(("backbone.net.", "roi_heads.decoder."))
        assert parameter.requires_grad != is_mae, name
        assert is_mae or parameter.grad.any(), name
