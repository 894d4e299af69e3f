"""Localisation of one object per image: mAP, CorLoc and accuracy."""

import logging
from collections.abc import Sequence

import numpy as np
import torch
from detectron2.evaluation import DatasetEvaluator
from detectron2.structures import Boxes
from detectron2.structures.boxes import matched_pairwise_iou
from detectron2.utils import comm
from detectron2.utils.logger import create_small_table

logger = logging.getLogger(__name__)

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)  # COCO's
_RECALLS = np.linspace(0.0, 1.0, 101)  # COCO's


class SingleObjectEvaluator(DatasetEvaluator):
    """Compare one box and one label per image with the true ones.

    - Acc: images whose class is right.
    - CorLoc: images whose box has an IoU of 0.5 or more with the true one, whatever the class.
    - mAP50: COCO's average precision at an IoU of 0.5, each image giving one detection, of the
      predicted class with its probability as score; the mean over classes that have an image.
    - mAP: the mean of that over IoUs of 0.5, 0.55 to 0.95.
    """

    def __init__(self, dataset: Sequence[dict]) -> None:
        """Keep the truth.

        Args:
            dataset: The truth: dicts with "image_id", "annotated_size" (width, height; None for
                the image's own) and one of "annotations" (x1, y1, x2, y2 in pixels of that size).
        """
        self._sizes = {record["image_id"]: record["annotated_size"] for record in dataset}
        self._truth = {
            record["image_id"]: (annotation["category_id"], annotation["bbox"])
            for record in dataset
            for annotation in record["annotations"]
        }
        self.reset()

    def reset(self) -> None:
        """Forget all predictions."""
        self._predictions: dict[int, tuple[int, list[float], float]] = {}

    def process(self, inputs: Sequence[dict], outputs: Sequence[dict]) -> None:
        """Keep the one prediction of each image."""
        for record, output in zip(inputs, outputs, strict=True):
            instances = output["instances"].to("cpu")
            boxes, size = instances.pred_boxes.clone(), self._sizes[record["image_id"]]
            if size is not None:  # the IoU is the same in either size
                height, width = instances.image_size
                boxes.scale(size[0] / width, size[1] / height)
            (category,), (score,) = instances.pred_classes.tolist(), instances.scores.tolist()
            self._predictions[record["image_id"]] = (category, boxes.tensor[0].tolist(), score)

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Gather the predictions of all processes.

        Returns:
            {"single_object": {"mAP", "mAP50", "CorLoc", "Acc"}} in percent, over the images that
            were predicted, in the main process; {} in the others.
        """
        comm.synchronize()
        gathered = comm.gather(self._predictions)
        if not comm.is_main_process():
            return {}
        predictions = {key: value for part in gathered for key, value in part.items()}
        ids = sorted(predictions)
        classes, boxes, scores = map(np.array, zip(*map(predictions.get, ids), strict=True))
        true_classes, true_boxes = map(np.array, zip(*map(self._truth.get, ids), strict=True))
        ious = matched_pairwise_iou(
            Boxes(torch.from_numpy(boxes).float()), Boxes(torch.from_numpy(true_boxes).float())
        ).numpy()
        precision = mean_average_precision(classes, scores, ious, true_classes)
        results = {
            "mAP": precision.mean(),
            "mAP50": precision[0],
            "CorLoc": (ious >= 0.5).mean(),
            "Acc": (classes == true_classes).mean(),
        }
        results = {name: float(100 * value) for name, value in results.items()}
        logger.info("One object in each of %d images:\n%s", len(ids), create_small_table(results))
        return {"single_object": results}


def mean_average_precision(
    classes: np.ndarray, scores: np.ndarray, ious: np.ndarray, true_classes: np.ndarray
) -> np.ndarray:
    """Return COCO's AP, the mean over classes, where each image has one object and one detection.

    COCOeval itself would visit every class in every image: 50 million pairs for ImageNet.

    Args:
        classes: Predicted class of each image, (N,).
        scores: Its score, (N,); of equal ones the earlier image comes first.
        ious: IoU of the predicted with the true box, (N,).
        true_classes: (N,).

    Returns:
        For each of `IOU_THRESHOLDS`, in [0, 1].
    """
    order = np.argsort(-scores, kind="stable")
    classes = classes[order]
    right = (classes == true_classes[order]) & (ious[order] >= IOU_THRESHOLDS[:, None])
    present, objects = np.unique(true_classes, return_counts=True)
    values = [
        [average_precision(row, count) for row in right[:, classes == category]]
        for category, count in zip(present, objects, strict=True)
    ]
    return np.mean(values, axis=0)


def average_precision(right: np.ndarray, objects: int) -> float:
    """Return the mean, over 101 recalls, of the best precision at that recall or a higher one.

    `right` tells of the detections by falling score which are right.
    """
    found = np.cumsum(right)
    precision = found / np.arange(1, len(right) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    reached = np.searchsorted(found / objects, _RECALLS, side="left")
    return float(np.append(best, 0.0)[reached].mean())
