"""Base and novel AP against evaluations of what is left when the other classes are taken away."""

import contextlib
import io
import json

import numpy as np
import pytest
import torch
from coco_predictions import coco_data, evaluate_with, random_predictions  # noqa: F401  # a fixture
from detectron2.structures import Boxes, Instances
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from imted.data.coco_json import register_coco_json
from imted.errors import UserError
from imted.experiments.few_shot.evaluator import METRICS, FewShotEvaluator

NAMES = {3: "ant", 5: "bee", 8: "cat", 9: "dog", 12: "elk", 14: "fox"}
NOVEL, NOVEL_IDS = ("bee", "elk", "fox"), {5, 12, 14}
SIDE = 300


def make_boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    """Make XYXY boxes from 10 to 150 pixels: small, medium and large ones."""
    corners = rng.uniform(0, SIDE - 150, (count, 2))
    return np.concatenate([corners, corners + rng.uniform(10, 150, (count, 2))], axis=1)


@pytest.fixture
def truth():
    """30 images of one to eight objects; no fox among them."""
    rng, entries = np.random.default_rng(0), []
    for image_id in range(1, 31):
        for x0, y0, x1, y1 in make_boxes(rng, rng.integers(1, 9)):
            category = int(rng.choice([key for key in NAMES if key != 14]))
            entries.append(
                {
                    "id": len(entries) + 1,
                    "image_id": image_id,
                    "category_id": category,
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "area": (x1 - x0) * (y1 - y0),
                    "segmentation": [[x0, y0, x1, y0, x1, y1, x0, y1]],
                    "iscrowd": 0,
                }
            )
    return {
        "images": [
            {"id": i, "file_name": f"{i}.jpg", "width": SIDE, "height": SIDE} for i in range(1, 31)
        ],
        "annotations": entries,
        "categories": [{"id": key, "name": name} for key, name in NAMES.items()],
    }


def predict(truth: dict) -> dict[int, Instances]:
    """Find most objects, more or less, some as another class, and what isn't there."""
    rng, keys, predictions = np.random.default_rng(1), list(NAMES), {}
    for image in truth["images"]:
        boxes, classes = [make_boxes(rng, 4)], list(rng.integers(0, len(keys), 4))
        for entry in truth["annotations"]:
            if entry["image_id"] == image["id"] and rng.random() < 0.8:
                x, y, w, h = entry["bbox"]
                boxes.append(np.array([[x, y, x + w, y + h]]) + rng.normal(0, 3, (1, 4)))
                right = rng.random() < 0.8
                classes.append(keys.index(entry["category_id"]) if right else rng.integers(6))
        instances = Instances((SIDE, SIDE))
        instances.pred_boxes = Boxes(torch.tensor(np.concatenate(boxes)))
        instances.pred_classes = torch.tensor(np.array(classes))
        instances.scores = torch.tensor(rng.random(len(classes)))
        grid = torch.arange(SIDE) + 0.5
        x0, y0, x1, y1 = (instances.pred_boxes.tensor[:, i, None] for i in range(4))
        inside_x, inside_y = (grid > x0) & (grid < x1), (grid > y0) & (grid < y1)
        instances.pred_masks = inside_y[:, :, None] & inside_x[:, None, :]
        predictions[image["id"]] = instances
    return predictions


@pytest.fixture
def evaluate(tmp_path):
    """Evaluate predictions, by image id."""

    def run(truth, predictions, novel=NOVEL):
        path = tmp_path / "truth.json"
        path.write_text(json.dumps(truth))
        register_coco_json("few_shot_test", str(path), str(tmp_path), NAMES)
        evaluator = FewShotEvaluator("few_shot_test", novel, output_dir=str(tmp_path))
        evaluator.reset()
        for image_id, instances in predictions.items():
            evaluator.process([{"image_id": image_id}], [{"instances": instances}])
        return evaluator.evaluate()

    return run


def restricted(truth: dict, found: list[dict], task: str, ids: set[int], by_params: bool):
    """Evaluate some classes: as `params.catIds`, or with all else taken out of the files."""

    def only(entries):
        return entries if by_params else [e for e in entries if e["category_id"] in ids]

    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            **truth,
            "annotations": only(truth["annotations"]),
            "categories": [c for c in truth["categories"] if by_params or c["id"] in ids],
        }
        coco.createIndex()
        results = [
            {k: v for k, v in f.items() if k != "bbox" or task == "bbox"} for f in only(found)
        ]
        evaluation = COCOeval(coco, coco.loadRes(results), task)
        if by_params:
            evaluation.params.catIds = sorted(ids)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [100 * value for value in evaluation.stats[:6]]


@pytest.mark.parametrize("by_params", [True, False])
def test_groups_are_the_restricted_evaluations(evaluate, truth, tmp_path, by_params):
    results = evaluate(truth, predict(truth))
    found = json.loads((tmp_path / "coco_instances_results.json").read_text())
    groups = {"": set(NAMES), "b": set(NAMES) - NOVEL_IDS, "n": NOVEL_IDS}
    for task in ("bbox", "segm"):
        for letter, ids in groups.items():
            expected = restricted(truth, found, task, ids, by_params)
            values = [results[task][letter + metric] for metric in METRICS]
            assert values == pytest.approx(expected, abs=1e-9), (task, letter)
        distinct = {round(results[task][f"{letter}AP"], 3) for letter in groups}
        assert len(distinct) == 3 and min(distinct) > 1


def test_classes_without_truth_are_no_part_of_the_mean(evaluate, truth):
    results = evaluate(truth, predict(truth))["bbox"]
    assert np.isnan(results["AP-fox"])
    assert results["nAP"] == pytest.approx((results["AP-bee"] + results["AP-elk"]) / 2)
    base = [results[f"AP-{name}"] for name in ("ant", "cat", "dog")]
    assert results["bAP"] == pytest.approx(np.mean(base))
    assert results["AP"] == pytest.approx((3 * results["bAP"] + 2 * results["nAP"]) / 5)


def test_a_group_without_any_truth_or_nothing_predicted_is_nan(evaluate, truth):
    results = evaluate(truth, predict(truth), novel=["fox"])["bbox"]
    assert np.isnan(results["nAP"]) and results["bAP"] == pytest.approx(results["AP"])
    nothing = {1: predict(truth)[1][:0]}
    results = evaluate(truth, nothing)["bbox"]
    assert all(np.isnan(results[letter + m]) for letter in ("", "b", "n") for m in METRICS)


def test_perfect_on_novel_classes_alone(evaluate, truth):
    """The predictions on base classes don't touch nAP, nor the other way round."""
    predictions = {}
    for image in truth["images"]:
        entries = [a for a in truth["annotations"] if a["image_id"] == image["id"]]
        boxes = torch.tensor([e["bbox"] for e in entries], dtype=torch.float64)
        boxes[:, 2:] += boxes[:, :2]
        instances = Instances((SIDE, SIDE))
        novel = torch.tensor([e["category_id"] in NOVEL_IDS for e in entries])
        instances.pred_boxes = Boxes(torch.where(novel[:, None], boxes, boxes * 0 + 1))
        keys = list(NAMES)
        instances.pred_classes = torch.tensor([keys.index(e["category_id"]) for e in entries])
        instances.scores = torch.ones(len(entries))
        predictions[image["id"]] = instances
    results = evaluate(truth, predictions)["bbox"]
    assert results["nAP"] == pytest.approx(100) and results["bAP"] == 0
    assert results["AP"] == pytest.approx(40)  # two of the five classes that have objects


def test_unknown_novel_class(evaluate, truth):
    with pytest.raises(UserError, match=r"'gnu' of dataloader\.evaluator\.novel_classes"):
        evaluate(truth, predict(truth), novel=["bee", "gnu"])


def test_the_groups_metrics_are_those_of_pycocotools(coco_data):  # noqa: F811
    outputs, novel = random_predictions(coco_data), ["class 1"]
    fast, plain = (
        evaluate_with(FewShotEvaluator, outputs, fast, novel_classes=novel)
        for fast in (True, False)
    )
    for task, metrics in plain.items():
        assert 1 < metrics["nAP"] < 99 and 1 < metrics["bAP"] < 99
        assert fast[task] == pytest.approx(metrics, abs=1e-9, nan_ok=True)
