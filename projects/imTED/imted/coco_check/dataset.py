"""Fit a config to a user's data set: check it, register it, set classes and masks from it."""

import logging
from dataclasses import dataclass

from detectron2.utils import comm
from omegaconf import DictConfig, OmegaConf

from imted.coco_check.check import Report, check_dataset, check_pair, write_repaired
from imted.data.coco_json import register_coco_json
from imted.errors import UserError

logger = logging.getLogger(__name__)

TRAIN_NAME = "custom_train"
"""The name under which `dataset.train_json` is registered."""
VAL_NAME = "custom_val"
"""The name under which `dataset.val_json` is registered."""

NAMES = {"train": TRAIN_NAME, "val": VAL_NAME}


@dataclass(frozen=True)
class Split:
    """What the processes need to know of a checked data set.

    Attributes:
        json_file: the json to read, the repaired copy if there is one.
        image_root: folder of the image files.
        classes: name of each category by its id in the json, ids ascending.
        has_masks: whether any annotation has a mask.
        has_rle: whether an instance's mask is run-length encoded (crowd regions aside).
    """

    json_file: str
    image_root: str
    classes: dict[int, str]
    has_masks: bool
    has_rle: bool


def fit_to_dataset(cfg: DictConfig, training: bool = True) -> None:
    """Check the json files that `cfg.dataset` names and make the config fit them.

    The check's report is logged, repaired copies go to `<train.output_dir>/datasets/`, and the
    files are registered as "custom_train" and "custom_val". The number of classes comes from the
    categories; a model with a mask head loses it if no annotation has a mask. A config without
    `dataset.train_json` is left as it is. All processes of a distributed run must call this.

    Args:
        cfg: the config; changed in place, and plain values only are put into it.
        training: False checks and registers val alone and takes everything from it.

    Raises:
        UserError: a value of `dataset` is not given, or the check finds something fatal.
    """
    dataset = cfg.get("dataset")
    if dataset is None or "train_json" not in dataset:
        return
    split_names = ["train", "val"] if training else ["val"]
    _require_values(dataset, split_names)
    roi_heads = cfg.model.get("roi_heads")
    masks = roi_heads is not None and roi_heads.get("mask_head") is not None
    # One process reads all the images and writes; the others wait for what it found.
    found = _check(cfg, split_names, masks) if comm.is_main_process() else None
    splits = comm.all_gather(found)[0]
    if isinstance(splits, UserError):
        raise splits
    for name, split in splits.items():
        register_coco_json(NAMES[name], split.json_file, split.image_root, split.classes)
    source = splits[split_names[0]]
    if roi_heads is not None:
        roi_heads.num_classes = len(source.classes)
        logger.info("%d classes: %s", len(source.classes), ", ".join(source.classes.values()))
    if masks:
        _fit_masks(cfg, source, dataset[f"{split_names[0]}_json"])


def summarize(report: Report, output_dir: str) -> dict[str, Split]:
    """Write repaired copies and return what to register, by split.

    Args:
        report: a report without fatal findings.
        output_dir: the run's folder, see `write_repaired`.
    """
    splits = {}
    for data, path in zip(report.datasets, write_repaired(report, output_dir), strict=True):
        splits[data.split] = Split(
            json_file=path,
            image_root=data.image_root,
            classes={category["id"]: category["name"] for category in data.categories},
            has_masks=data.has_masks,
            has_rle=any(
                isinstance(annotation.get("segmentation"), dict) and not annotation["iscrowd"]
                for annotation in data.content["annotations"]
            ),
        )
    return splits


def _require_values(dataset: DictConfig, split_names: list[str]) -> None:
    keys = [f"{split}_{what}" for split in split_names for what in ("json", "images")]
    absent = [f"dataset.{key}" for key in keys if not dataset.get(key)]
    if absent:
        verb = "is" if len(absent) == 1 else "are"
        example = " ".join(f"{key}=PATH" for key in absent)
        raise UserError(f"{', '.join(absent)} {verb} not given; add {example} to the command line.")


def _check(cfg: DictConfig, split_names: list[str], masks: bool) -> dict[str, Split] | UserError:
    """Check and repair; return the error, which every process is to raise."""
    try:
        reports = []
        for split in split_names:
            json_file, images = cfg.dataset[f"{split}_json"], cfg.dataset[f"{split}_images"]
            reports.append(check_dataset(json_file, images, split, masks))
            masks = masks and reports[0].datasets[0].has_masks
        report = check_pair(*reports) if len(reports) == 2 else reports[0]
        if report.fatal:
            logger.error("Check of the data set:\n%s", report)
            raise UserError("The data set has fatal mistakes. " + "; ".join(report.fatal) + ".")
        logger.info("Check of the data set:\n%s", report)
        return summarize(report, cfg.train.output_dir)
    except UserError as error:
        return error


def _fit_masks(cfg: DictConfig, source: Split, json_file: str) -> None:
    """Switch masks off where there are none; read RLE masks as the bitmaps they are."""
    mapper = "dataloader.train.mapper"
    if source.has_masks:
        if source.has_rle:  # Detectron2's default, polygons, cannot hold them
            OmegaConf.update(cfg, f"{mapper}.instance_mask_format", "bitmask", force_add=True)
        return
    logger.info("No annotation of %s has a mask: masks are switched off.", json_file)
    for key in ("mask_in_features", "mask_pooler", "mask_head"):
        cfg.model.roi_heads[key] = None
    for key in ("use_instance_mask", "recompute_boxes"):
        OmegaConf.update(cfg, f"{mapper}.{key}", False, force_add=True)
