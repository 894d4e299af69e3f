"""The evaluation in C++ against pycocotools, through Detectron2's evaluator."""

import pytest
from coco_predictions import coco_data, evaluate_with, random_predictions  # noqa: F401  # a fixture
from detectron2.evaluation import COCOEvaluator


def test_all_metrics_are_those_of_pycocotools(coco_data):  # noqa: F811
    outputs = random_predictions(coco_data)
    fast, plain = (evaluate_with(COCOEvaluator, outputs, fast) for fast in (True, False))
    assert fast.keys() == plain.keys() == {"bbox", "segm"}
    for task, metrics in plain.items():
        assert 1 < metrics["AP"] < 99
        assert fast[task] == pytest.approx(metrics, abs=1e-9, nan_ok=True)


def test_images_without_detections(coco_data):  # noqa: F811
    outputs = random_predictions(coco_data)
    empty = [(image, found[:0] if i % 2 else found) for i, (image, found) in enumerate(outputs)]
    fast, plain = (evaluate_with(COCOEvaluator, empty, fast) for fast in (True, False))
    for task, metrics in plain.items():
        assert fast[task] == pytest.approx(metrics, abs=1e-9, nan_ok=True)
