"""COCO's metrics on base classes and on novel classes apart."""

import copy
import logging
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import Any

import numpy as np
from detectron2.evaluation import COCOEvaluator
from detectron2.utils.logger import create_small_table
from pycocotools.cocoeval import COCOeval

from imted.data.coco_json import categories_of
from imted.errors import UserError

logger = logging.getLogger(__name__)

METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")


class FewShotEvaluator(COCOEvaluator):
    """Evaluate on all classes, and add the same metrics of the base and of the novel ones.

    "AP" is of all classes, "bAP" of the base classes, "nAP" of the novel ones, and so on for AP50,
    AP75, APs, APm and APl. The predictions are those of the whole detector in each. COCO matches
    predictions to objects class by class, so a group's metrics are those that an evaluation with
    `params.catIds` limited to the group gives; here they come from the one evaluation of all.
    """

    def __init__(self, dataset_name: str, novel_classes: Sequence[str], **kwargs: Any) -> None:
        """Tell base classes from novel ones.

        Args:
            dataset_name: The name under which the data set is registered.
            novel_classes: Names of the novel classes; all others are base classes.
            **kwargs: See Detectron2's ``COCOEvaluator``.

        Raises:
            UserError: A novel class isn't in the data set.
        """
        super().__init__(dataset_name, **kwargs)
        names = categories_of(self._coco_api.dataset)
        absent = [name for name in novel_classes if name not in names.values()]
        if absent:
            raise UserError(
                f"{absent[0]!r} of dataloader.evaluator.novel_classes isn't a class of "
                f"{self._metadata.json_file}; correct the list."
            )
        self._groups = {
            "b": [key for key, name in names.items() if name not in novel_classes],
            "n": [key for key, name in names.items() if name in novel_classes],
        }

    def _derive_coco_results(
        self, coco_eval: COCOeval | None, iou_type: str, class_names: list[str] | None = None
    ) -> dict[str, float]:
        results = super()._derive_coco_results(coco_eval, iou_type, class_names)
        groups: dict[str, float] = {}
        for letter, category_ids in self._groups.items():
            values = group_metrics(coco_eval, category_ids)
            groups |= {f"{letter}{metric}": value for metric, value in values.items()}
        logger.info("Base and novel classes, %s:\n%s", iou_type, create_small_table(groups))
        return {**results, **groups}


def group_metrics(coco_eval: COCOeval | None, category_ids: Sequence[int]) -> dict[str, float]:
    """Return COCO's `METRICS` of some of the evaluated classes, in percent.

    Classes without any object are left out of the mean; it is NaN where no class has one, or where
    nothing was predicted (None).
    """
    if coco_eval is None:
        return dict.fromkeys(METRICS, float("nan"))
    classes = np.isin(coco_eval.params.catIds, category_ids)
    part = copy.copy(coco_eval)
    part.eval = {
        "precision": coco_eval.eval["precision"][:, :, classes],  # IoU, recall, class, area, number
        "recall": coco_eval.eval["recall"][:, classes],
    }
    with redirect_stdout(None):
        part.summarize()
    stats = part.stats[: len(METRICS)]
    return {
        name: float(value * 100) if value >= 0 else float("nan")
        for name, value in zip(METRICS, stats, strict=True)
    }
