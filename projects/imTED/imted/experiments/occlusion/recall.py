"""Recall of partly hidden objects: Occluded COCO and Separated COCO, or lists like them."""

import logging
from collections import defaultdict
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask
from tabulate import tabulate

from imted.data.coco_json import categories_of
from imted.errors import UserError
from imted.experiments.occlusion.data import LISTS, OccludedObject, derive_lists, read_list
from imted.experiments.occlusion.predictions import PredictionsEvaluator

logger = logging.getLogger(__name__)


class OcclusionRecallEvaluator(PredictionsEvaluator):
    """Say how many objects of two lists are found, in percent.

    An object is found if a detection of its class (by name) and image has a score and an IoU that
    are high enough. "recall" is the measure of Zhan et al. (BMVC 2022): one detection may find
    several objects. In "recall_one_to_one", their detections take turns by falling score, and each
    finds at most one object, the best that is left. An object in an image without detections,
    or of a class that the detector does not know, is missed.

    Results are `{"occluded": {"mask_recall", "mask_recall_one_to_one", "box_recall",
    "box_recall_one_to_one"}, "separated": …}`; the paper's is `mask_recall`. A detector without
    masks has the last two only. The true box is the mask's own, tight to the pixel.
    """

    def __init__(
        self,
        dataset_name: str,
        occluded: str | None = None,
        separated: str | None = None,
        min_iou: float = 0.75,
        min_score: float = 0.3,
        skip_unknown_ratios: bool = False,
    ) -> None:
        """Read the lists, or derive them.

        Args:
            dataset_name: Name of a data set with a COCO json, in Detectron2's catalogs.
            occluded: List written by datasets/prepare_occlusion.py; without one it is derived
                from the masks of the data set.
            separated: The same for the other list.
            min_iou: From which on a detection fits.
            min_score: The least score of a detection that counts.
            skip_unknown_ratios: Leave out objects whose occlusion ratio is unknown ("NAN" in the
                published lists), as the authors' own script does. mmdetection counts them, and
                so does this without the option.

        Raises:
            UserError: A list is missing, or belongs to another data set.
        """
        super().__init__(dataset_name, min_score)
        paths = dict(zip(LISTS, (occluded, separated), strict=True))
        derived = {} if all(paths.values()) else derive_lists(self.content, self.json_file)
        self._lists = {
            key: read_list(path) if path else derived[key] for key, path in paths.items()
        }
        self._min_iou = min_iou
        self._names = {image["id"]: image["file_name"] for image in self.content["images"]}
        self._classes = categories_of(self.content)
        for key, path in paths.items():
            self._check(self._lists[key], path or f'The list "{key}" of {self.json_file}')
        if skip_unknown_ratios:
            self._lists = {
                key: [item for item in objects if item.occlusion_ratio is not None]
                for key, objects in self._lists.items()
            }
        self._wanted = {item.file_name for objects in self._lists.values() for item in objects}

    def wants(self, image_id: int) -> bool:
        """Tell whether an image has an object of the lists."""
        return self._names[image_id] in self._wanted

    def evaluate_results(self, results: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
        """Return the recalls by list, in percent; NaN for an empty list."""
        detections = defaultdict(list)
        for result in sorted(results, key=lambda result: -result["score"]):
            place = self._names[result["image_id"]], self._classes[result["category_id"]]
            detections[place].append(result)
        kinds = ("mask", "box") if self.has_masks else ("box",)
        recalls: dict[str, dict[str, float]] = {}
        rows = []
        for key, objects in self._lists.items():
            recalls[key] = {}
            for kind in kinds:
                found, once = self._count(objects, detections, kind)
                any_, own = (100 * count / (len(objects) or np.nan) for count in (found, once))
                recalls[key] |= {f"{kind}_recall": any_, f"{kind}_recall_one_to_one": own}
                rows.append((key, kind, len(objects), found, any_, once, own))
        headers = ("list", "IoU of", "objects", "found", "recall", "one to one", "recall")
        logger.info(
            "Recall of hidden objects, in percent:\n%s",
            tabulate(rows, headers, tablefmt="pipe", floatfmt=".2f"),
        )
        return recalls

    def _count(
        self, objects: list[OccludedObject], detections: dict[tuple, list[dict]], kind: str
    ) -> tuple[int, int]:
        """Count the objects found, with and without detections that are used again."""
        groups = defaultdict(list)
        for item in objects:
            groups[item.file_name, item.category].append(item.segmentation)
        found = once = 0
        for key, truth in groups.items():
            if not detections[key]:
                continue
            if kind == "mask":
                pair: tuple = ([result["segmentation"] for result in detections[key]], truth)
            else:
                boxes = [result["bbox"] for result in detections[key]]
                pair = np.array(boxes), coco_mask.toBbox(truth)
            fits = match(coco_mask.iou(*pair, [0] * len(truth)), self._min_iou)
            found, once = found + fits[0].sum(), once + fits[1].sum()
        return int(found), int(once)

    def _check(self, objects: list[OccludedObject], name: str) -> None:
        """Raise a UserError if no object can be found; warn if some can't."""
        images, classes = set(self._names.values()), set(self._classes.values())
        for what, wanted, known in (
            ("image", [item.file_name for item in objects], images),
            ("class", [item.category for item in objects], classes),
        ):
            strange = [key for key in wanted if key not in known]
            if wanted and len(strange) == len(wanted):
                raise UserError(
                    f"{name} has no {what} of {self.json_file} (but {strange[0]}); "
                    "give the list of this data set."
                )
            if strange:
                logger.warning(
                    "%s: %d objects count as missed, for %s doesn't have their %s, such as %s.",
                    *(name, len(strange), self.json_file, what, strange[0]),
                )


def match(ious: np.ndarray, min_iou: float) -> tuple[np.ndarray, np.ndarray]:
    """Match detections with objects of their class in one image.

    Args:
        ious: (detections, objects), detections by falling score.
        min_iou: From which on the two fit.

    Returns:
        Two bool arrays, (objects,): whether any detection fits, and whether one does when each
        detection takes one object at most.
    """
    taken = np.zeros(ious.shape[1], dtype=bool)
    for row in ious:
        left = np.where(taken, -1.0, row)
        best = left.argmax()
        taken[best] |= left[best] >= min_iou
    return np.logical_or.reduce(ious >= min_iou, axis=0), taken
