"""Few shots: base classes, then K instances of every class (imTED's few-shot experiment)."""

from imted.experiments.few_shot.data import COCO_NOVEL
from imted.experiments.few_shot.evaluator import FewShotEvaluator

__all__ = ["COCO_NOVEL", "FewShotEvaluator"]
