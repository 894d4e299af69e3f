"""A detector's weights for more classes: what it knows of the old ones stays."""

from collections.abc import Mapping, Sequence

import torch

from imted.errors import UserError
from imted.modeling.parts import DETECTOR_PARTS, ClassLayer, ModelParts


def extend_classes(
    weights: Mapping[str, torch.Tensor],
    base: Sequence[str],
    classes: Sequence[str],
    path: str,
    new_boxes: bool = False,
    seed: int = 0,
    parts: ModelParts = DETECTOR_PARTS,
) -> dict[str, torch.Tensor]:
    """Give the class layers of a detector rows for more classes.

    The rows of a base class, found by its name, and those of the background are kept: class
    scores, class-specific box regressors and masks. The rows of other classes start as Detectron2
    starts them, normal weights and zero biases. A box regressor or mask predictor that serves all
    classes (`cls_agnostic_bbox_reg`, `cls_agnostic_mask`) stays as it is.

    Args:
        weights: The detector's state dict; left as it is.
        base: Its classes, by ascending category id.
        classes: Those it is to have, by ascending category id.
        path: The file of `weights`, for errors.
        new_boxes: Start all box regressors anew, as imTED's released code does (there, tensors
            whose shape changes are not loaded).
        seed: Seeds the new rows.
        parts: Where the detector has its class layers.

    Raises:
        UserError: A base class is not among `classes`, the weights are not of `base`, or
            `new_boxes` is asked of a regressor that serves all classes.
    """
    absent = [name for name in base if name not in classes]
    if absent:
        raise UserError(
            f"The base class {absent[0]!r} is not among the {len(classes)} classes of --json, "
            "which must have all of them by the same names; are --base-json and --json exchanged?"
        )
    generator = torch.Generator().manual_seed(seed)
    extended = dict(weights)
    positions = [classes.index(name) for name in base]
    for layer in filter(None, (parts.class_scores, parts.class_boxes, parts.class_masks)):
        is_boxes = layer is parts.class_boxes
        for part in ("weight", "bias"):
            key = f"{layer.name}.{part}"
            if layer is parts.class_masks and key not in weights:  # a detector of boxes alone
                continue
            if layer is not parts.class_scores and _is_agnostic(weights, key, layer, base):
                if is_boxes and new_boxes:
                    raise UserError(
                        f"{path} has one box regressor for all classes, which more classes leave "
                        "as it is; leave out --new-boxes."
                    )
                continue
            old = _by_class(weights, key, layer, len(base), path)
            new = torch.zeros(len(classes) + layer.background, *old.shape[1:])
            if part == "weight":
                new.normal_(std=layer.std, generator=generator)
            if not (is_boxes and new_boxes):
                kept = [*positions, len(classes)] if layer.background else positions
                new[kept] = old.float()
            extended[key] = new.flatten(0, 1).to(old.dtype)
    return extended


def _is_agnostic(
    weights: Mapping[str, torch.Tensor], key: str, layer: ClassLayer, base: Sequence[str]
) -> bool:
    """Tell whether a layer serves all of several classes alike."""
    return key in weights and len(weights[key]) == layer.rows and len(base) > 1


def _by_class(
    weights: Mapping[str, torch.Tensor], key: str, layer: ClassLayer, classes: int, path: str
) -> torch.Tensor:
    """Return a tensor as (classes, rows of each class, …)."""
    if key not in weights:
        raise UserError(
            f"{path} is missing {key!r}; give a detector that was trained here, or a released one "
            "after tools/convert_released.py."
        )
    groups = classes + layer.background
    if len(weights[key]) != groups * layer.rows:
        raise UserError(
            f"{path} has {len(weights[key])} rows in {key!r}, which aren't those of the {classes} "
            "classes of --base-json; name the json that it was trained on."
        )
    return weights[key].unflatten(0, (groups, layer.rows))
