"""What an analysis is made of: a data set's annotations, and a detector's predictions on it."""

from dataclasses import dataclass
from typing import Any

import pycocotools.mask as mask_util
from pycocotools.coco import COCO

from imted.data.coco_check.geometry import are_finite, is_box, is_near
from imted.data.coco_json import index_coco
from imted.errors import UserError
from imted.visualization.drawing import load_predictions

TASKS = {"bbox": "box", "segm": "mask"}
"""What is compared: its name in COCO's evaluation, and in words."""


@dataclass(frozen=True)
class Truth:
    """The annotations of a data set by COCO's own index, and the folder of its images."""

    json_file: str
    image_root: str
    coco: COCO

    @classmethod
    def of(cls, json_file: str, image_root: str, content: dict[str, Any]) -> "Truth":
        """Index a json's content; it is kept, not copied.

        Raises:
            UserError: It has no images.
        """
        if not content["images"]:
            raise UserError(f"{json_file} has no images; there is nothing to analyse.")
        return cls(json_file, image_root, index_coco(content))

    @property
    def classes(self) -> list[str]:
        """Names by ascending category id, the order of COCO's evaluation."""
        return [self.coco.cats[key]["name"] for key in sorted(self.coco.cats)]


def read_predictions(path: str, truth: Truth, task: str) -> list[dict[str, Any]]:
    """Read COCO results and check that they belong to a data set.

    Args:
        path: A `coco_instances_results.json`, which may hold an empty list.
        truth: The data set.
        task: "bbox" or "segm"; the latter needs masks on both sides.

    Raises:
        UserError: The file holds something else, or is of another data set.
    """
    if task == "segm" and not any(a.get("segmentation") for a in truth.coco.anns.values()):
        raise UserError(f"{truth.json_file} has no masks; analyse boxes, --task bbox.")
    predictions = [p for found in load_predictions(path).values() for p in found]
    if task == "segm" and predictions and not any("segmentation" in p for p in predictions):
        raise UserError(f"{path} has no masks; analyse boxes, --task bbox.")
    for prediction in predictions:
        if problem := _problem(prediction, truth, task):
            raise UserError(f"{path} has a prediction {problem}.")
    return predictions


def require_same(first: Truth, second: Truth) -> None:
    """Stop unless two runs were evaluated on the same images, classes and annotations.

    Raises:
        UserError: Which of them differ.
    """
    for what, one, two in zip(
        ("categories", "images", "annotations"), _rows(first.coco), _rows(second.coco), strict=True
    ):
        if sorted(one) != sorted(two):
            raise UserError(
                f"the val sets {first.json_file} and {second.json_file} differ in their {what}; "
                "runs can be compared on one val set alone."
            )


def _problem(prediction: dict[str, Any], truth: Truth, task: str) -> str | None:
    """Say what is wrong with a prediction."""
    image_id = prediction["image_id"]
    for what, known in (("image", truth.coco.imgs), ("category", truth.coco.cats)):
        key = prediction[f"{what}_id"]
        if not isinstance(key, int) or key not in known:
            return (
                f"of {what} {key!r}, which {truth.json_file} does not have; "
                "predictions and annotations must be of one data set"
            )
    if not are_finite([prediction["score"]]):
        return f"of image {image_id} whose score is {prediction['score']!r}, no finite number"
    if not is_box(prediction["bbox"]):
        return f"of image {image_id} whose bbox is {prediction['bbox']!r}, not four numbers"
    if not is_near(prediction["bbox"], None):
        return f"of image {image_id} whose bbox is {prediction['bbox']!r}, in no image"
    if task == "segm" and not _is_mask(prediction.get("segmentation"), truth.coco.imgs[image_id]):
        return f"of image {image_id} whose segmentation is no mask (COCO RLE) of the image's size"
    return None


def _is_mask(mask: Any, image: dict[str, Any]) -> bool:
    """Tell whether a mask is COCO's compressed RLE of the image's size; it may be empty."""
    if not isinstance(mask, dict) or mask.get("size") != [image["height"], image["width"]]:
        return False
    try:
        mask_util.area(mask)
    except (TypeError, ValueError, KeyError, AttributeError):
        return False
    return True


def _rows(coco: COCO) -> tuple[list[tuple], ...]:
    """List what makes each category, image and annotation what it is."""
    return (
        [(key, category["name"]) for key, category in coco.cats.items()],
        [(key, image["file_name"]) for key, image in coco.imgs.items()],
        [
            (a["image_id"], a["category_id"], a["bbox"], a.get("iscrowd", 0))
            for a in coco.anns.values()
        ],
    )
