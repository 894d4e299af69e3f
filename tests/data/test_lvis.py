import json
import math

import numpy as np
import pytest
import torch
from detectron2.data import MetadataCatalog
from detectron2.evaluation import LVISEvaluator as D2LVISEvaluator
from detectron2.structures import Boxes, Instances

from imted.data.lvis import LVISEvaluator


@pytest.mark.parametrize("nothing", [None, {}])
def test_a_process_without_results_has_none(monkeypatch, nothing):
    monkeypatch.setattr(D2LVISEvaluator, "evaluate", lambda self: nothing)
    assert LVISEvaluator.__new__(LVISEvaluator).evaluate() == nothing


def test_what_cannot_be_measured_is_nan(monkeypatch):
    found = {"bbox": {"AP": 12.5, "APr": -100.0}, "segm": {"AP": 0.0}}
    monkeypatch.setattr(D2LVISEvaluator, "evaluate", lambda self: found)
    results = LVISEvaluator.__new__(LVISEvaluator).evaluate()
    assert math.isnan(results["bbox"].pop("APr"))
    assert results == {"bbox": {"AP": 12.5}, "segm": {"AP": 0.0}}


def test_numpy_has_the_name_that_lvis_writes_during_the_evaluation_alone(monkeypatch):
    seen = []
    monkeypatch.setattr(D2LVISEvaluator, "evaluate", lambda self: seen.append(np.float))
    LVISEvaluator.__new__(LVISEvaluator).evaluate()
    assert seen == [float] and not hasattr(np, "float")


def test_a_perfect_and_a_missed_class(tmp_path):
    pytest.importorskip("lvis")
    categories = [
        {"id": 1, "name": "cup", "frequency": "f"},
        {"id": 2, "name": "urn", "frequency": "c"},
    ]
    image = {"id": 1, "width": 100, "height": 100, "coco_url": "http://x/val2017/1.jpg"}
    image |= {"neg_category_ids": [], "not_exhaustive_category_ids": []}
    polygon = [[10, 10, 50, 10, 50, 50, 10, 50]]
    annotation = {"image_id": 1, "bbox": [10, 10, 40, 40], "area": 1600, "segmentation": polygon}
    annotations = [{**annotation, "id": i, "category_id": i} for i in (1, 2)]
    path = tmp_path / "lvis.json"
    truth = {"images": [image], "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(truth))
    name = "lvis_of_one_image"
    MetadataCatalog.get(name).set(json_file=str(path), thing_classes=["cup", "urn"])

    evaluator = LVISEvaluator(name, distributed=False)
    evaluator.reset()
    found = Instances((100, 100), pred_boxes=Boxes(torch.tensor([[10.0, 10, 50, 50]])))
    found.scores, found.pred_classes = torch.tensor([0.9]), torch.tensor([0])
    evaluator.process([{"image_id": 1}], [{"instances": found}])
    box = evaluator.evaluate()["bbox"]
    MetadataCatalog.remove(name)
    assert box["AP"] == pytest.approx(50)
    assert (box["APf"], box["APc"]) == (pytest.approx(100), pytest.approx(0))
    assert math.isnan(box["APr"])
