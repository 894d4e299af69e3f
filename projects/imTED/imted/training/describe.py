"""What a run's checkpoints say of themselves: from the model, the config and its data set."""

import json
from collections.abc import Mapping
from typing import Any, cast

import torch
from detectron2.data import MetadataCatalog
from omegaconf import DictConfig, ListConfig, OmegaConf
from torch import nn

import imted
from imted import allowed
from imted.checkpoint import Description
from imted.errors import UserError


def describe(model: nn.Module, cfg: DictConfig, categories: dict[int, str]) -> Description | None:
    """Describe a detector that is trained, or was, as a config says.

    Args:
        model: The model itself, not its DDP wrapper.
        cfg: Its config.
        categories: Names of the classes by their ids in the json, in the order of the logits.

    Returns:
        None for what has no ROI heads of classes, such as a masked autoencoder, and where the
        categories are not as many as the model's classes.
    """
    detector = cast(Any, model)
    heads = getattr(detector, "roi_heads", None)
    if getattr(heads, "num_classes", None) != len(categories):
        return None
    return Description(
        classes=tuple(categories.values()),
        category_ids=tuple(categories),
        masks=bool(getattr(heads, "mask_on", False)),
        input_format=detector.input_format,
        pixel_mean=_numbers(detector.pixel_mean),
        pixel_std=_numbers(detector.pixel_std),
        augmentations=_augmentations(cfg),
        version=imted.__version__,
    )


def registered_categories(cfg: DictConfig) -> dict[int, str]:
    """Return the categories of the data set that a config names, in the order of their classes.

    Returns:
        Names by id, of the test set or, if it isn't registered, of the training set. Where
        Detectron2's catalog has no ids (VOC), those that it writes into results: the numbers of
        the classes. Empty if neither is registered.
    """
    for split in ("test", "train"):
        names = OmegaConf.select(cfg, f"dataloader.{split}.dataset.names")
        name = names if isinstance(names, str) or not names else names[0]
        if name not in MetadataCatalog.list():
            continue
        metadata = MetadataCatalog.get(name)
        classes = metadata.get("thing_classes", ())
        own = {i: i for i in range(len(classes))}
        numbers = metadata.get("thing_dataset_id_to_contiguous_id", own)
        return {key: classes[numbers[key]] for key in sorted(numbers, key=numbers.get)}
    return {}


def _numbers(values: torch.Tensor) -> tuple[float, ...]:
    """Return a float32 tensor's values as short as they were written, 123.675."""
    return tuple(float(str(value)) for value in values.flatten().cpu().numpy())


def _augmentations(cfg: DictConfig) -> tuple[dict[str, Any], ...] | None:
    """Return the test set's augmentations as plain values; None where they aren't such."""
    values = OmegaConf.select(cfg, "dataloader.test.mapper.augmentations")
    if not isinstance(values, ListConfig):
        return None
    calls = []
    for call in OmegaConf.to_container(values, resolve=True):  # type: ignore[union-attr]
        if not isinstance(call, Mapping) or "_target_" not in call:
            return None
        target = call["_target_"]
        name = target if isinstance(target, str) else f"{target.__module__}.{target.__qualname__}"
        calls.append({**call, "_target_": name})
    try:
        return tuple(allowed.checked(json.loads(json.dumps(calls)), "The config"))
    except (TypeError, UserError):  # more than numbers and text, or more than data may name
        return None
