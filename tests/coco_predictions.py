"""A small data set and predictions for it, evaluated by any of Detectron2's evaluators."""

import json

import numpy as np
import pycocotools.mask
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.structures import Boxes, Instances

from imted.compat import evaluate_coco_in_cpp

SIDE, CLASSES = 64, 4


def rectangle(box):
    x, y, w, h = np.round(box).astype(int)
    mask = np.zeros((SIDE, SIDE), np.uint8, order="F")
    mask[y : y + h, x : x + w] = 1
    return mask


def random_boxes(generator, number):
    sizes = generator.uniform(4, 40, (number, 2))
    return np.hstack([generator.uniform(0, SIDE - sizes), sizes])


@pytest.fixture
def coco_data(tmp_path):
    """Write and register images with objects of four classes, some of them crowds, some none."""
    generator = np.random.default_rng(0)
    annotations = []
    for image in range(1, 21):
        for box in random_boxes(generator, generator.integers(0, 7)):
            mask = pycocotools.mask.encode(rectangle(box))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": int(generator.integers(1, CLASSES)),  # the last has none
                    "bbox": box.tolist(),
                    "area": float(pycocotools.mask.area(mask)),
                    "iscrowd": int(generator.random() < 0.1),
                    "segmentation": {**mask, "counts": mask["counts"].decode()},
                }
            )
    content = {
        "info": {},
        "images": [
            {"id": i, "file_name": f"{i}.png", "width": SIDE, "height": SIDE} for i in range(1, 21)
        ],
        "annotations": annotations,
        "categories": [{"id": i + 1, "name": f"class {i}"} for i in range(CLASSES)],
    }
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(content))
    register_coco_instances("in_cpp", {}, str(path), str(tmp_path))
    DatasetCatalog.get("in_cpp")  # which finds the ids of the classes
    yield content
    DatasetCatalog.remove("in_cpp")
    MetadataCatalog.remove("in_cpp")


def random_predictions(content, seed=1, number=12):
    """Return instances near objects or anywhere, with scores that repeat."""
    generator = np.random.default_rng(seed)
    outputs = []
    for image in content["images"]:
        truth = [a for a in content["annotations"] if a["image_id"] == image["id"]]
        boxes, classes = [], []
        for box in random_boxes(generator, number):
            near = truth and generator.random() < 0.7
            entry = truth[generator.integers(len(truth))] if near else None
            boxes.append(np.add(entry["bbox"], generator.normal(0, 2, 4)) if near else box)
            classes.append(entry["category_id"] - 1 if near else generator.integers(CLASSES))
        found = Instances((SIDE, SIDE))
        boxes = np.clip(np.reshape(boxes, (-1, 4)), 0, None)
        corners = np.clip(np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]]), 0, SIDE)
        found.pred_boxes = Boxes(torch.tensor(corners, dtype=torch.float32))
        found.scores = torch.tensor(np.round(generator.random(number), 1))
        found.pred_classes = torch.tensor(np.array(classes, dtype=np.int64))
        found.pred_masks = torch.tensor(np.array([rectangle(box) for box in boxes], dtype=bool))
        outputs.append((image, found))
    return outputs


def evaluate_with(kind, outputs, fast, **kwargs):
    evaluate_coco_in_cpp()
    evaluator = kind("in_cpp", use_fast_impl=fast, distributed=False, **kwargs)
    assert evaluator._use_fast_impl == fast
    evaluator.reset()
    for image, found in outputs:
        evaluator.process([{"image_id": image["id"]}], [{"instances": found}])
    return evaluator.evaluate()
