"""What evaluators of a COCO json have in common: collecting the predictions."""

from collections.abc import Sequence
from typing import Any

from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from detectron2.utils import comm

from imted.data.coco_json import load_coco


class PredictionsEvaluator(DatasetEvaluator):
    """Collect predictions from a score on as COCO's results, with the json's category ids.

    Attributes:
        json_file: The annotations of the data set.
        content: What is in it.
        has_masks: Whether the detector predicts masks.
    """

    def __init__(self, dataset_name: str, min_score: float = 0.0) -> None:
        """Read the truth of a data set with a COCO json, in Detectron2's catalogs."""
        metadata = MetadataCatalog.get(dataset_name)
        self.json_file = metadata.json_file
        self.content = load_coco(self.json_file)
        self._min_score = min_score
        self._category_ids = {i: k for k, i in metadata.thing_dataset_id_to_contiguous_id.items()}
        self.reset()

    def reset(self) -> None:
        """Forget all predictions."""
        self.has_masks = False
        self._results: list[dict[str, Any]] = []

    def process(self, inputs: Sequence[dict], outputs: Sequence[dict]) -> None:
        """Keep the predictions of some images."""
        for record, output in zip(inputs, outputs, strict=True):
            instances = output["instances"].to("cpu")
            self.has_masks |= instances.has("pred_masks")
            if self.wants(record["image_id"]):
                instances = instances[instances.scores >= self._min_score]
                for result in instances_to_coco_json(instances, record["image_id"]):
                    result["category_id"] = self._category_ids[result["category_id"]]
                    self._results.append(result)

    def wants(self, image_id: int) -> bool:
        """Tell whether the predictions for an image are needed."""
        return True

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Gather the predictions of all processes and evaluate them in the main one."""
        comm.synchronize()
        gathered = comm.gather((self._results, self.has_masks))
        if not comm.is_main_process():
            return {}
        self.has_masks = any(masks for _, masks in gathered)
        return self.evaluate_results([result for results, _ in gathered for result in results])

    def evaluate_results(self, results: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
        """Return percentages by metric, by group of metrics."""
        raise NotImplementedError
