"""COCO's AP beside the recall of occluded and of separated objects, and AP by hidden part."""

from detectron2.config import LazyCall as L
from detectron2.evaluation import COCOEvaluator, DatasetEvaluators

from imted.experiments.occlusion import OcclusionBinsEvaluator, OcclusionRecallEvaluator

occlusion = dict(
    # Lists by datasets/prepare_occlusion.py; "": derived from the masks of the test set.
    occluded="",
    separated="",
    skip_unknown_ratios=False,  # leave out objects whose ratio the lists' authors don't know
)

evaluator = L(DatasetEvaluators)(
    evaluators=[
        L(COCOEvaluator)(
            dataset_name="${dataloader.test.dataset.names}",
            output_dir="${train.output_dir}/inference",
        ),
        L(OcclusionRecallEvaluator)(
            dataset_name="${dataloader.test.dataset.names}",
            occluded="${occlusion.occluded}",
            separated="${occlusion.separated}",
            skip_unknown_ratios="${occlusion.skip_unknown_ratios}",
        ),
    ]
)

by_hidden_part = L(OcclusionBinsEvaluator)(dataset_name="${dataloader.test.dataset.names}")
