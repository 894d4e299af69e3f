"""COCO's metrics of random boxes: pycocotools against the C++ that is used here."""

import contextlib
import copy
import io
import time
from statistics import median
from typing import Any

import numpy as np
from faster_coco_eval import COCOeval_faster
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

CLASSES = 80
IMAGES = 1000


def time_evaluation(repeats: int) -> dict[str, Any]:
    """Time the matching of random detections to random objects, print it and return it."""
    generator = np.random.default_rng(0)
    side, objects, detections = 640, 8, 37

    def entries(number: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for image in range(1, IMAGES + 1):
            sizes = generator.uniform(8, 300, (number, 2))
            for x, y, w, h in np.hstack([generator.uniform(0, side - sizes), sizes]):
                found.append(
                    {
                        "id": len(found) + 1,
                        "image_id": image,
                        "category_id": int(generator.integers(1, CLASSES + 1)),
                        "bbox": [x, y, w, h],
                        "area": w * h,
                        "iscrowd": 0,
                        "score": generator.random(),
                    }
                )
        return found

    truth = COCO()
    truth.dataset = {
        "info": {},
        "images": [{"id": i, "width": side, "height": side} for i in range(1, IMAGES + 1)],
        "annotations": entries(objects),
        "categories": [{"id": i, "name": str(i)} for i in range(1, CLASSES + 1)],
    }
    results = entries(detections)
    kinds = {"pycocotools": COCOeval, "ours": COCOeval_faster}
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    stats = {}
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        for _ in range(repeats):
            for name, kind in kinds.items():
                start = time.perf_counter()
                evaluation = kind(truth, truth.loadRes(copy.deepcopy(results)), "bbox")
                evaluation.evaluate()
                evaluation.accumulate()
                evaluation.summarize()
                seconds[name].append(time.perf_counter() - start)
                stats[name] = evaluation.stats[:12]
    ratios = np.divide(seconds["pycocotools"], seconds["ours"])
    difference = float(np.abs(stats["ours"] - stats["pycocotools"]).max())
    print(
        f"\n## evaluation: {IMAGES} images of {objects} objects and {detections} boxes\n\n"
        f"pycocotools {median(seconds['pycocotools']):.2f} s, ours {median(seconds['ours']):.2f}"
        f" s: ratio {median(ratios):.2f} ({ratios.min():.2f} to {ratios.max():.2f})\n"
        f"the metrics differ by at most {difference:.1e}"
    )
    return {"seconds": seconds, "difference": difference}
