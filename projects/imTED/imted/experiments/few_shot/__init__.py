"""Few shots: base classes, then K instances of every class (imTED's few-shot experiment)."""

from imted.experiments.few_shot.evaluator import FewShotEvaluator

__all__ = ["COCO_NOVEL", "FewShotEvaluator"]

COCO_NOVEL = (
    *("person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "boat", "bird", "cat"),
    *("dog", "horse", "sheep", "cow", "bottle", "chair", "couch", "potted plant", "dining table"),
    "tv",
)
"""The 20 classes of COCO that PASCAL VOC has too, novel in COCO's usual split; 60 are base."""
