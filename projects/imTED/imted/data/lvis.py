"""How often the classes of LVIS occur."""

from collections.abc import Callable
from functools import partial

import torch
from detectron2.data.detection_utils import get_fed_loss_cls_weights


def federated_loss_weights(dataset: str, power: float) -> Callable[[], torch.Tensor]:
    """Return what gives the federated loss its weights, (classes,), to draw other classes by.

    Args:
        dataset: Name of the data set whose images of each class are counted.
        power: A class's weight is its number of images to this power.
    """
    return partial(get_fed_loss_cls_weights, dataset, power)
