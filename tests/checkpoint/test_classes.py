import pytest
import torch
from detectron2.config import instantiate

from imted.checkpoint.classes import extend_classes
from imted.errors import UserError

SCORES, BOXES = "roi_heads.box_predictor.cls_score", "roi_heads.box_predictor.bbox_pred"
MASKS = "roi_heads.mask_head.predictor"


def rows(*numbers: int) -> torch.Tensor:
    """Two columns, the second ten times the first."""
    return torch.tensor([[float(n), 10.0 * n] for n in numbers])


@pytest.fixture
def weights():
    """Classes cat and dog, background last; every row tells what it is."""
    return {
        "backbone.x": torch.ones(3),
        f"{SCORES}.weight": rows(1, 2, 9),
        f"{SCORES}.bias": torch.tensor([1.0, 2.0, 9.0]),
        f"{BOXES}.weight": rows(11, 12, 13, 14, 21, 22, 23, 24),
        f"{BOXES}.bias": torch.tensor([11.0, 12, 13, 14, 21, 22, 23, 24]),
        f"{MASKS}.weight": rows(1, 2)[..., None, None],
        f"{MASKS}.bias": torch.tensor([1.0, 2.0]),
    }


BASE, ALL = ["cat", "dog"], ["ant", "dog", "bee", "cat"]  # another order, and new ones between


def test_rows_go_where_their_class_is(weights):
    extended = extend_classes(weights, BASE, ALL, "base.pth")
    assert extended.keys() == weights.keys()
    assert torch.equal(extended["backbone.x"], weights["backbone.x"])
    scores, boxes, masks = (extended[f"{name}.weight"] for name in (SCORES, BOXES, MASKS))
    assert scores.shape == (5, 2) and boxes.shape == (16, 2) and masks.shape == (4, 2, 1, 1)
    torch.testing.assert_close(scores[[1, 3, 4]], rows(2, 1, 9))
    torch.testing.assert_close(boxes[4:8], rows(21, 22, 23, 24))
    torch.testing.assert_close(boxes[12:16], rows(11, 12, 13, 14))
    torch.testing.assert_close(masks[[1, 3], :, 0, 0], rows(2, 1))
    assert extended[f"{SCORES}.bias"].tolist() == [0, 2, 0, 1, 9]
    assert extended[f"{BOXES}.bias"].tolist() == [0] * 4 + [21, 22, 23, 24] + [0] * 4 + [
        *(11, 12, 13, 14)
    ]
    assert extended[f"{MASKS}.bias"].tolist() == [0, 2, 0, 1]
    for new in (scores[[0, 2]], boxes[0:4], boxes[8:12], masks[[0, 2]]):
        assert 0 < new.abs().max() < 0.05


def test_new_rows_start_as_detectron2_starts_them():
    weights = {
        f"{SCORES}.weight": torch.zeros(2, 500),
        f"{SCORES}.bias": torch.zeros(2),
        f"{BOXES}.weight": torch.zeros(4, 500),
        f"{BOXES}.bias": torch.zeros(4),
    }
    classes = ["a", *map(str, range(20))]
    one, two = (extend_classes(weights, ["a"], classes, "x", seed=s) for s in (0, 1))
    assert one[f"{SCORES}.weight"][1:-1].std().item() == pytest.approx(0.01, rel=0.05)
    assert one[f"{BOXES}.weight"][4:].std().item() == pytest.approx(0.001, rel=0.05)
    assert not torch.equal(one[f"{SCORES}.weight"], two[f"{SCORES}.weight"])
    same = extend_classes(weights, ["a"], classes, "x")
    assert all(torch.equal(same[key], one[key]) for key in one)


def test_box_regressors_start_anew_if_asked(weights):
    extended = extend_classes(weights, BASE, ALL, "base.pth", new_boxes=True)
    assert extended[f"{BOXES}.weight"].abs().max() < 0.01
    assert not extended[f"{BOXES}.bias"].any()
    torch.testing.assert_close(extended[f"{SCORES}.weight"][[1, 3, 4]], rows(2, 1, 9))


def test_the_extended_detector_scores_the_old_classes_as_before(small_detector_config):
    """Through Detectron2's own layers, masks included."""
    torch.manual_seed(0)
    old = instantiate(small_detector_config(masks=True, num_classes=2))
    new = instantiate(small_detector_config(masks=True, num_classes=4))
    new.load_state_dict(extend_classes(old.state_dict(), BASE, ALL, "base.pth"))
    features = torch.randn(5, 16)
    before = old.roi_heads.box_predictor(features)
    after = new.roi_heads.box_predictor(features)
    torch.testing.assert_close(after[0][:, [3, 1, 4]], before[0])
    boxes = after[1].view(5, 4, 4)[:, [3, 1]]
    torch.testing.assert_close(boxes, before[1].view(5, 2, 4))
    maps = torch.randn(2, old.roi_heads.mask_head.predictor.in_channels, 7, 7)
    logits = [model.roi_heads.mask_head.predictor(maps) for model in (old, new)]
    torch.testing.assert_close(logits[1][:, [3, 1]], logits[0])


def test_a_regressor_of_all_classes_stays(weights):
    weights |= {f"{BOXES}.weight": rows(1, 2, 3, 4), f"{BOXES}.bias": torch.arange(4.0)}
    extended = extend_classes(weights, BASE, ALL, "base.pth")
    assert torch.equal(extended[f"{BOXES}.weight"], rows(1, 2, 3, 4))
    assert extended[f"{BOXES}.bias"].tolist() == [0, 1, 2, 3]
    assert extended[f"{SCORES}.bias"].tolist() == [0, 2, 0, 1, 9]
    with pytest.raises(UserError, match="leave out --new-boxes"):
        extend_classes(weights, BASE, ALL, "base.pth", new_boxes=True)


def test_a_mask_predictor_of_all_classes_stays(weights):
    weights |= {f"{MASKS}.weight": rows(7)[..., None, None], f"{MASKS}.bias": torch.tensor([7.0])}
    extended = extend_classes(weights, BASE, ALL, "base.pth", new_boxes=True)
    assert torch.equal(extended[f"{MASKS}.weight"], weights[f"{MASKS}.weight"])
    assert extended[f"{MASKS}.bias"].tolist() == [7]
    assert len(extended[f"{BOXES}.bias"]) == 16


def test_errors(weights):
    with pytest.raises(UserError, match="'dog' is not among the 2 classes"):
        extend_classes(weights, BASE, ["cat", "ant"], "base.pth")
    with pytest.raises(UserError, match=r"base\.pth has 3 rows in .*cls_score.*of the 1 classes"):
        extend_classes(weights, ["cat"], ALL, "base.pth")
    with pytest.raises(UserError, match=r"base\.pth is missing .*convert_released"):
        extend_classes({"backbone.x": torch.ones(1)}, BASE, ALL, "base.pth")
