"""LVIS: its images, and how often its classes occur."""

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec

import torch
from detectron2.data import get_detection_dataset_dicts
from detectron2.data.detection_utils import get_fed_loss_cls_weights

from imted.errors import UserError


def lvis_dataset_dicts(names: str, filter_empty: bool = True) -> list[dict]:
    """Load a data set of LVIS as Detectron2 does.

    Args:
        names: One of Detectron2's, such as "lvis_v1_train".
        filter_empty: Leave images without annotations out.

    Raises:
        UserError: The package lvis is not installed.
    """
    if find_spec("lvis") is None:
        raise UserError(
            f"{names} (dataloader) needs the package lvis, which isn't installed; "
            "pip install --no-deps lvis."
        )
    return get_detection_dataset_dicts(names, filter_empty=filter_empty)


def federated_loss_weights(dataset: str, power: float) -> Callable[[], torch.Tensor]:
    """Return what gives the federated loss its weights, (classes,), to draw other classes by.

    Args:
        dataset: Name of the data set whose images of each class are counted.
        power: A class's weight is its number of images to this power.
    """
    return partial(get_fed_loss_cls_weights, dataset, power)
