import numpy as np
import pytest

from imted.data.coco_check.findings import CheckedJson
from imted.data.coco_check.plausibility import check_box_form, check_masks_of_boxes

WIDTH, HEIGHT = 200, 100


def dataset(boxes, masks=None):
    """Return annotations of one image: boxes [x, y, w, h], and polygons."""
    entries = [
        {"id": i, "image_id": 1, "category_id": 1, "bbox": [float(v) for v in box]}
        for i, box in enumerate(boxes, start=1)
    ]
    for entry, mask in zip(entries, [] if masks is None else masks, strict=False):
        entry["segmentation"] = [rectangle(mask)]
    image = {"id": 1, "file_name": "1.png", "width": WIDTH, "height": HEIGHT}
    content = {"images": [image], "annotations": entries, "categories": [{"id": 1, "name": "a"}]}
    return CheckedJson("train.json", content)


def rectangle(box):
    x, y, w, h = map(float, box)
    return [x, y, x + w, y, x + w, y + h, x, y + h]


@pytest.fixture
def boxes():
    generator = np.random.default_rng(0)
    corner = generator.uniform(0, 0.6, (30, 2)) * (WIDTH, HEIGHT)
    size = generator.uniform(0.1, 0.4, (30, 2)) * (WIDTH, HEIGHT)
    return np.concatenate([corner, size], axis=1)


def found(data):
    check_box_form(data, {1: (WIDTH, HEIGHT)})
    return list(data.findings)


def test_good_boxes(boxes):
    assert found(dataset(boxes)) == []


def test_boxes_as_parts_of_the_image(boxes):
    data = dataset(boxes / (WIDTH, HEIGHT, WIDTH, HEIGHT))
    assert found(data) == ["boxes_normalised"] and len(data.findings["boxes_normalised"]) == 30


def test_two_corners_for_a_box(boxes):
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    assert found(dataset(corners)) == ["boxes_xyxy"]


def test_boxes_of_a_larger_image(boxes):
    assert found(dataset(boxes * 3)) == ["boxes_many_outside"]


def test_a_few_boxes_outside_are_only_clipped(boxes):
    boxes[:3, 0] += WIDTH
    assert found(dataset(boxes)) == []


@pytest.mark.parametrize(
    ("number", "kinds"), [(0, []), (1, []), (2, ["some_box_not_mask"]), (30, ["box_not_mask"])]
)
def test_boxes_and_masks(boxes, number, kinds):
    masks = boxes.copy()
    masks[:number] = [WIDTH - 3, HEIGHT - 3, 3, 3]  # no box of these reaches the corner
    data = dataset(boxes, masks)
    check_masks_of_boxes(data)
    assert list(data.findings) == kinds
    assert sum(map(len, data.findings.values())) == (number if kinds else 0)


def test_boxes_by_their_centre(boxes):
    centred = boxes.copy()
    centred[:, :2] += boxes[:, 2:] / 2
    data = dataset(centred, boxes)
    check_masks_of_boxes(data)
    assert list(data.findings) == ["boxes_centred"] and len(data.findings["boxes_centred"]) == 30
