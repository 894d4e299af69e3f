"""Evaluators beyond COCO's AP; each is a Detectron2 `DatasetEvaluator`."""

from imted.evaluation.few_shot import FewShotEvaluator
from imted.evaluation.lvis import LVISEvaluator
from imted.evaluation.occlusion import OcclusionRecallEvaluator
from imted.evaluation.occlusion_bins import OcclusionBinsEvaluator
from imted.evaluation.single_object import SingleObjectEvaluator

__all__ = [
    "FewShotEvaluator",
    "LVISEvaluator",
    "OcclusionBinsEvaluator",
    "OcclusionRecallEvaluator",
    "SingleObjectEvaluator",
]
