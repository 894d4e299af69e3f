"""What a config takes from its own data set: the number of classes, and whether there are masks."""

import logging
from collections.abc import Mapping

from detectron2.config import instantiate
from detectron2.evaluation import COCOEvaluator
from detectron2.utils.registry import locate
from omegaconf import DictConfig, OmegaConf

from imted.data.dataset import Split
from imted.errors import UserError

logger = logging.getLogger(__name__)

COCO_DETECTIONS = 100
"""Of an image, those of the highest scores, which COCO's evaluation counts by default."""


def complete_from_dataset(cfg: DictConfig, training: bool = True) -> dict[str, Split]:
    """Check the data set that `cfg.dataset` names, and let the config follow from it.

    A `num_classes` that is computed from the data set becomes its number; a model that learns
    masks loses them where no annotation has one. A config without `dataset` stays as it is. All
    processes of a distributed run must call this.

    Args:
        cfg: The config; changed in place, and plain values only are put into it.
        training: False checks and registers val alone and takes everything from it.

    Returns:
        What was found, by split.

    Raises:
        UserError: A path is not given, the check finds something fatal, or `num_classes` states
            another number than the json.
    """
    if "_target_" not in (cfg.get("dataset") or {}):
        return {}
    found = instantiate(cfg.dataset).check(*(("train", "val") if training else ("val",)))
    split = next(iter(found))
    json_file = cfg.dataset[f"{split}_json"]
    heads = cfg.model.get("roi_heads")
    if heads is not None:
        _complete_classes(heads, list(found[split].classes.values()), json_file)
        if heads.get("mask_head") is not None:
            _complete_masks(cfg, found[split], json_file)
    if "val" in found:
        _complete_limit(cfg, found["val"].most)
    register_dataset(cfg, found)
    return found


def _complete_limit(cfg: DictConfig, most: int) -> None:
    """Let COCO's evaluation count as many detections of an image as the detector keeps.

    Args:
        cfg: The config, completed in place.
        most: Objects in the test image that has the most.
    """
    kept = OmegaConf.select(cfg, "model.roi_heads.box_predictor.test_topk_per_image")
    evaluator = OmegaConf.select(cfg, "dataloader.evaluator")
    if kept is None or evaluator is None:
        return
    target = evaluator.get("_target_")
    target = locate(target) if isinstance(target, str) else target
    follows = target is COCOEvaluator and evaluator.get("max_dets_per_image") is None
    if follows and kept > COCO_DETECTIONS:
        OmegaConf.update(cfg, "dataloader.evaluator.max_dets_per_image", kept, force_add=True)
    if most > kept:
        logger.warning(
            "A test image has %d objects, and a detector keeps %d detections of an image: AP can't "
            "come near 100. model.roi_heads.box_predictor.test_topk_per_image=%d keeps more.",
            *(most, kept, most),
        )


def register_dataset(cfg: DictConfig, found: Mapping[str, Split]) -> None:
    """Register what the check of `cfg.dataset` has found, so that no loader checks it again."""
    if found:
        instantiate(cfg.dataset).register_checked(found)


def _complete_classes(heads: DictConfig, classes: list[str], json_file: str) -> None:
    stated = heads.get("num_classes")
    if isinstance(stated, int) and stated != len(classes):
        names = ", ".join(classes[:8]) + (" and more" if len(classes) > 8 else "")
        raise UserError(
            f"model.roi_heads.num_classes is {stated}, but {json_file} has {len(classes)} classes "
            f"({names}); set model.roi_heads.num_classes={len(classes)}, or name the right json."
        )
    heads.num_classes = len(classes)


def _complete_masks(cfg: DictConfig, found: Split, json_file: str) -> None:
    """Switch masks off where there are none; read RLE masks as the bitmaps they are."""
    mapper = "dataloader.train.mapper"
    if found.has_masks:
        if found.has_rle:  # Detectron2's default, polygons, cannot hold them
            OmegaConf.update(cfg, f"{mapper}.instance_mask_format", "bitmask", force_add=True)
        return
    logger.debug("No annotation of %s has a mask: masks are switched off.", json_file)
    without_masks(cfg.model)
    for key in ("use_instance_mask", "recompute_boxes"):
        OmegaConf.update(cfg, f"{mapper}.{key}", False, force_add=True)


def without_masks(model: DictConfig) -> None:
    """Take the mask head from a model's config, in place."""
    for key in ("mask_in_features", "mask_pooler", "mask_head"):
        model.roi_heads[key] = None
