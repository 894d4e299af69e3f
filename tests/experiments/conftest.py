"""Data sets of rectangles in Detectron2's catalogs, and detections on them."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, Instances
from pycocotools import mask as coco_mask

from imted.data.coco_json import register_coco_json

SIDE = 60
CATEGORIES = {3: "ant", 7: "bee", 9: "cat"}  # classes 0, 1, 2


def rectangle(x: int, y: int, width: int, height: int) -> np.ndarray:
    """A mask, bool (SIDE, SIDE)."""
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    mask[y : y + height, x : x + width] = True
    return mask


def to_rle(mask: np.ndarray) -> dict:
    rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {**rle, "counts": rle["counts"].decode()}


def make_annotation(mask: np.ndarray, image_id: int = 1, category_id: int = 3, **more) -> dict:
    rle = to_rle(mask)
    return {
        "image_id": image_id,
        "category_id": category_id,
        "segmentation": rle,
        "bbox": coco_mask.toBbox(rle).tolist(),
        "area": int(mask.sum()),
        "iscrowd": 0,
        **more,
    }


def make_content(annotations: list[dict], images: int = 1) -> dict:
    return {
        "images": [
            {"id": i, "file_name": f"{i}.png", "width": SIDE, "height": SIDE}
            for i in range(1, images + 1)
        ],
        "annotations": [{"id": i, **a} for i, a in enumerate(annotations, 1)],
        "categories": [{"id": key, "name": name} for key, name in CATEGORIES.items()],
    }


def make_detections(*found: tuple[np.ndarray, int, float], masks: bool = True) -> dict:
    """A detector's output for one image, of (mask, class, score)."""
    instances = Instances((SIDE, SIDE))
    boxes = np.array([coco_mask.toBbox(to_rle(mask)) for mask, _, _ in found]).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    instances.pred_boxes = Boxes(torch.as_tensor(boxes, dtype=torch.float32))
    instances.pred_classes = torch.tensor([index for _, index, _ in found], dtype=torch.int64)
    instances.scores = torch.tensor([score for _, _, score in found], dtype=torch.float32)
    if masks:
        stack = np.array([mask for mask, _, _ in found]).reshape(-1, SIDE, SIDE)
        instances.pred_masks = torch.as_tensor(stack, dtype=torch.bool)
    return {"instances": instances}


@pytest.fixture
def dataset(tmp_path):
    """Register a COCO json; returns the data set's name."""
    name = "test_occlusion"

    def register(annotations: list[dict], images: int = 1) -> str:
        path = tmp_path / "truth.json"
        path.write_text(json.dumps(make_content(annotations, images)))
        register_coco_json(name, str(path), str(tmp_path), CATEGORIES)
        return name

    yield register
    if name in DatasetCatalog.list():
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def evaluate(evaluator, outputs: dict[int, dict]) -> dict:
    """Hand an evaluator the outputs by image id, and return its results."""
    evaluator.reset()
    for image_id, output in outputs.items():
        evaluator.process([{"image_id": image_id}], [output])
    return evaluator.evaluate()


@pytest.fixture
def make():
    """The functions above, for the tests."""
    return SimpleNamespace(
        rectangle=rectangle,
        rle=to_rle,
        annotation=make_annotation,
        detections=make_detections,
        evaluation=evaluate,
    )
