"""COCO's AP and AR of objects by the part of them that is hidden."""

import logging
import math
from collections.abc import Iterable, Sequence
from contextlib import redirect_stdout
from typing import Any

import numpy as np
from faster_coco_eval import COCOeval_faster
from pycocotools.coco import COCO
from tabulate import tabulate

from imted.data.coco_json import index_coco
from imted.errors import UserError
from imted.experiments.occlusion.data import add_ratios
from imted.experiments.occlusion.predictions import PredictionsEvaluator

logger = logging.getLogger(__name__)


class OcclusionBinsEvaluator(PredictionsEvaluator):
    """Evaluate AP and AR for each range of the annotations' `occlusion_ratio`.

    In each bin, objects outside it are ignored as COCO ignores objects of other sizes: they are
    neither missed, nor is a detection that fits one of them wrong. Detections that fit nothing are
    wrong in every bin, since nobody can tell how hidden an object is that isn't there. So AP is
    lower where there are fewer objects: compare detectors within a bin by AP, and bins of one
    detector by AR, which has no false positives in it.

    Ratios that are missing from the json are estimated from the masks
    (`imted.experiments.occlusion.data`).

    Results are `{"bbox_by_occlusion": {"AP_all", "AR_all", "AP_0", "AR_0", "AP_0..0.25", …},
    "segm_by_occlusion": …}`, the latter for detectors with masks. AP and AR are means over IoUs
    from 0.5 to 0.95 and classes, AR with `max_detections` in an image.
    """

    def __init__(
        self,
        dataset_name: str,
        edges: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0),
        max_detections: int = 100,
    ) -> None:
        """Read the truth with its ratios, and name the bins.

        Args:
            dataset_name: Name of a data set with a COCO json, in Detectron2's catalogs.
            edges: The bins' upper ends, ascending, 1 the last; each belongs to its bin. The
                first is 0 here: objects that are not hidden at all have a bin of their own.
            max_detections: How many detections of each image count, by score.

        Raises:
            UserError: The edges don't ascend to 1, or an object has neither a ratio nor a mask.
        """
        edges = list(edges)
        if edges[-1:] != [1] or edges != sorted(set(edges)) or edges[0] < 0:
            raise UserError(
                f"The edges of OcclusionBinsEvaluator are {edges}; they must ascend, from 0 or "
                "more to 1."
            )
        super().__init__(dataset_name)
        self.content, estimates = add_ratios(self.content, self.json_file)
        if estimates:
            logger.info("%s: %d occlusion ratios are estimates.", self.json_file, estimates)
        ends = zip([0.0, *edges[:-1]], edges, strict=True)
        self._names = ["all", *(f"{low:g}..{high:g}" if high else "0" for low, high in ends)]
        self._edges = edges
        self._max_detections = max_detections

    def evaluate_results(self, results: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
        """Return AP and AR by task, in percent; NaN for a bin without objects."""
        truth = self._truth()
        # NaN is outside of no range: detections that fit nothing are wrong in every bin.
        found = self._coco({**result, "area": math.nan, "iscrowd": 0} for result in results)
        bins = [a["area"] for a in truth.dataset["annotations"] if not a["iscrowd"]]
        counts = [len(bins), *np.bincount(bins, minlength=len(self._edges)).tolist()]
        metrics: dict[str, dict[str, float]] = {}
        rows = []
        for task in ("bbox", "segm") if self.has_masks else ("bbox",):
            precision, recall = self._evaluate(truth, found, task)
            values = metrics[f"{task}_by_occlusion"] = {}
            for i, name in enumerate(self._names):
                ap, ar = _percent(precision[:, :, :, i]), _percent(recall[:, :, i])
                values[f"AP_{name}"], values[f"AR_{name}"] = ap, ar
                rows.append((task, name, counts[i], ap, ar))
        headers = ("IoU of", "hidden", "objects", "AP", "AR")
        table = tabulate(rows, headers, tablefmt="pipe", floatfmt=".2f")
        logger.info("By hidden part:\n%s", table)
        return metrics

    def _evaluate(self, truth: COCO, found: COCO, task: str) -> tuple[np.ndarray, np.ndarray]:
        """Return COCOeval's precision and recall with bins in place of sizes."""
        evaluation = COCOeval_faster(truth, found, task)
        last = len(self._edges) - 1
        evaluation.params.areaRng = [[0, last], *([i, i] for i in range(last + 1))]
        evaluation.params.areaRngLbl = self._names
        evaluation.params.maxDets = [self._max_detections]
        with redirect_stdout(None):
            evaluation.evaluate()
            evaluation.accumulate()
        return evaluation.eval["precision"], evaluation.eval["recall"]

    def _truth(self) -> COCO:
        """Return the truth; its "area", by which COCOeval selects, is the number of the bin."""
        return self._coco(
            {
                **annotation,
                "iscrowd": annotation.get("iscrowd", 0),
                "area": int(np.searchsorted(self._edges, annotation.get("occlusion_ratio") or 0.0)),
            }
            for annotation in self.content["annotations"]
        )

    def _coco(self, annotations: Iterable[dict[str, Any]]) -> COCO:
        """Index annotations; they get new ids from 1 on, as COCOeval takes 0 for "no match"."""
        numbered = [{**annotation, "id": i} for i, annotation in enumerate(annotations, 1)]
        return index_coco({**self.content, "annotations": numbered})


def _percent(values: np.ndarray) -> float:
    """Return the mean of what COCOeval could compute; -1 stands for classes without objects."""
    values = values[values > -1]
    return 100 * float(values.mean()) if values.size else math.nan
