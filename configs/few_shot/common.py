"""Which instances train, and COCO's metrics on base and on novel classes apart."""

from detectron2.config import LazyCall as L

from imted.experiments.few_shot import COCO_NOVEL, FewShotEvaluator

few_shot = dict(
    shots=10,  # instances of each class
    seed=0,  # of their choice
    setting="${few_shot.shots}shot",  # as it is called in names of files and in the schedule
)

evaluator = L(FewShotEvaluator)(
    dataset_name="${dataloader.test.dataset.names}",
    novel_classes=COCO_NOVEL,
    output_dir="${train.output_dir}/inference",
)
