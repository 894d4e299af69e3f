"""One object per image: what a pre-trained decoder adds to localisation."""

from imted import allowed
from imted.experiments.single_object.data import SingleObjectMapper, read_single_object
from imted.experiments.single_object.evaluator import SingleObjectEvaluator
from imted.experiments.single_object.model import SingleObjectLocalizer

__all__ = [
    "SingleObjectEvaluator",
    "SingleObjectLocalizer",
    "SingleObjectMapper",
    "read_single_object",
]

allowed.BASES.add("imted.experiments.single_object.data.SingleObjectMapper")
allowed.CALLS.add("imted.experiments.single_object.data.read_single_object")
