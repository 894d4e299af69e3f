"""What LVIS needs beyond COCO: the federated loss's weights, and metrics that can be absent."""

import math
from collections.abc import Callable, Mapping
from functools import partial

import torch
from detectron2.data.detection_utils import get_fed_loss_cls_weights
from detectron2.evaluation import LVISEvaluator as D2LVISEvaluator

from imted.compat import numpy_float


def federated_loss_weights(dataset: str, power: float) -> Callable[[], torch.Tensor]:
    """Return what gives the federated loss its weights, (classes,), to draw other classes by.

    Args:
        dataset: Name of the data set whose images of each class are counted.
        power: A class's weight is its number of images to this power.
    """
    return partial(get_fed_loss_cls_weights, dataset, power)


class LVISEvaluator(D2LVISEvaluator):
    """Detectron2's LVIS evaluator; a metric without any object is NaN, as in its COCO evaluator.

    The lvis package marks such a metric, say APr where no class is rare, by -1, in percent -100.
    """

    def evaluate(self) -> dict | None:
        """Return {"bbox": {"AP": …, "APr": …}, "segm": …} in percent, on the main process."""
        with numpy_float():
            results = super().evaluate()
        return results and {task: _without_marks(values) for task, values in results.items()}


def _without_marks(metrics: Mapping[str, float]) -> dict[str, float]:
    return {name: math.nan if value < 0 else value for name, value in metrics.items()}
