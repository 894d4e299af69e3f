"""Hidden objects: recall of two lists, and AP by hidden part."""

from imted.experiments.occlusion.bins import OcclusionBinsEvaluator
from imted.experiments.occlusion.recall import OcclusionRecallEvaluator

__all__ = ["OcclusionBinsEvaluator", "OcclusionRecallEvaluator"]
