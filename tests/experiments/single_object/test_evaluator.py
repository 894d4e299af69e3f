import contextlib
import io
import json

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from imted.experiments.single_object import SingleObjectEvaluator

SIDE = 100


def truth(*objects: tuple[int, list[float]]) -> list[dict]:
    """A data set of (class, x1, y1, x2, y2), with image ids from 1."""
    return [
        {
            "image_id": i,
            "annotated_size": None,
            "annotations": [{"category_id": category, "bbox": box}],
        }
        for i, (category, box) in enumerate(objects, 1)
    ]


def results(dataset: list[dict], predictions: list[tuple[int, list[float], float]]) -> dict:
    evaluator = SingleObjectEvaluator(dataset)
    for record, (category, box, score) in zip(dataset, predictions, strict=True):
        instances = Instances((SIDE, SIDE))
        instances.pred_boxes = Boxes(torch.tensor([box]))
        instances.pred_classes = torch.tensor([category])
        instances.scores = torch.tensor([score], dtype=torch.float64)
        evaluator.process([{"image_id": record["image_id"]}], [{"instances": instances}])
    return evaluator.evaluate()["single_object"]


def iou(one: list[float], other: list[float]) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    common = max(width, 0) * max(height, 0)
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (one, other)]
    return common / (sum(areas) - common)


BOX = [0.0, 0.0, 10.0, 10.0]


@pytest.mark.parametrize(
    ("predictions", "expected"),
    [
        # both right
        ([(0, BOX, 0.9), (1, BOX, 0.8)], (100, 100, 100, 100)),
        # the box right, the class wrong: located, but no detection of the class
        ([(0, BOX, 0.9), (0, BOX, 0.8)], (50, 50, 100, 50)),
        # the other way round; a wrong detection ahead of nothing costs class 1 only
        ([(0, BOX, 0.9), (1, [50.0, 50.0, 60.0, 60.0], 0.8)], (50, 50, 50, 100)),
        # an IoU of exactly 0.5 counts as located: 1 of the 10 thresholds for that class
        ([(0, BOX, 0.9), (1, [0.0, 0.0, 10.0, 5.0], 0.8)], (55, 100, 100, 100)),
        # a detection of class 0 in the image of class 1, ahead of the right one: precision 1/2
        ([(0, BOX, 0.8), (0, BOX, 0.9)], (25, 25, 100, 50)),
    ],
)
def test_hand_made_cases(predictions, expected):
    found = results(truth((0, BOX), (1, BOX)), predictions)
    assert tuple(found[key] for key in ("mAP", "mAP50", "CorLoc", "Acc")) == pytest.approx(expected)


def test_boxes_are_compared_in_the_annotated_size():
    dataset = truth((0, [0.0, 0.0, 20.0, 5.0]))
    assert results(dataset, [(0, BOX, 0.9)])["CorLoc"] == 0
    dataset[0]["annotated_size"] = (2 * SIDE, SIDE / 2)  # of an image of SIDE x SIDE
    assert results(dataset, [(0, BOX, 0.9)]) == dict.fromkeys(
        ("mAP", "mAP50", "CorLoc", "Acc"), 100
    )


@pytest.mark.parametrize("seed", range(4))
def test_against_cocoeval_and_plain_loops(seed):
    rng = np.random.default_rng(seed)
    classes, objects, predictions = 4, [], []
    for _ in range(60):
        corner, size = rng.uniform(0, 50, 2), rng.uniform(10, 40, 2)
        box = [*corner, *(corner + size)]
        objects.append((int(rng.integers(classes)), box))
        shift = np.tile(rng.normal(0, 3, 2), 2)
        category = objects[-1][0] if rng.random() < 0.7 else int(rng.integers(classes + 1))
        score = round(float(rng.random()), 1)  # with ties
        predictions.append((category, [float(v) for v in box + shift], score))
    found = results(truth(*objects), predictions)

    located = [iou(b, p) >= 0.5 for (_, b), (_, p, _) in zip(objects, predictions, strict=True)]
    assert found["CorLoc"] == pytest.approx(100 * sum(located) / 60)
    right = [c == p for (c, _), (p, _, _) in zip(objects, predictions, strict=True)]
    assert found["Acc"] == pytest.approx(100 * sum(right) / 60)

    def xywh(box):
        return [float(v) for v in (box[0], box[1], box[2] - box[0], box[3] - box[1])]

    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": i} for i in range(1, 61)],
            "categories": [{"id": i} for i in range(classes + 1)],
            "annotations": [
                {"id": i, "image_id": i, "category_id": c, "bbox": xywh(b), "area": 1, "iscrowd": 0}
                for i, (c, b) in enumerate(objects, 1)
            ],
        }
        coco.createIndex()
        detections = coco.loadRes(
            [
                {"image_id": i, "category_id": c, "bbox": xywh(b), "score": s}
                for i, (c, b, s) in enumerate(predictions, 1)
            ]
        )
        reference = COCOeval(coco, detections, "bbox")
        reference.evaluate()
        reference.accumulate()
        reference.summarize()
    assert found["mAP"] == pytest.approx(100 * reference.stats[0])
    assert found["mAP50"] == pytest.approx(100 * reference.stats[1])
    assert 0 < found["mAP"] < found["mAP50"] < 100


def test_results_can_be_written():
    found = results(truth((0, BOX)), [(0, BOX, 0.5)])
    assert json.loads(json.dumps(found)) == found
