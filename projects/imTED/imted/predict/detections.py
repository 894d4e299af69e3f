"""What a detector finds in an image: Detectron2's `Instances` that know their classes' names."""

from typing import Any

import numpy as np
import pycocotools.mask
from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from detectron2.structures import Instances

from imted.checkpoint import Description


class Detections(Instances):
    """Detectron2's `Instances`, with `to_coco`.

    Fields: `pred_boxes` (Boxes, XYXY in pixels), `scores`, `pred_classes` (N) and, of a detector
    of masks, `pred_masks` (N, H, W) bool; of an image in tiles an array of N COCO RLEs, because
    as many whole masks would not fit in memory. N detections, of highest score first.
    """

    def __init__(
        self, image_size: tuple[int, int], description: Description, **fields: Any
    ) -> None:
        """Keep the fields, the image's height and width, and the classes' names and ids."""
        super().__init__(image_size, **fields)
        self._description = description

    @property
    def names(self) -> list[str]:
        """The name of each detection's class."""
        return [self._description.classes[number] for number in self.pred_classes.tolist()]

    def to(self, *args: Any, **kwargs: Any) -> "Detections":
        """Move the fields, as `Instances.to` does."""
        return self._like(super().to(*args, **kwargs))

    def __getitem__(self, item: Any) -> "Detections":
        return self._like(super().__getitem__(item))

    def _like(self, instances: Instances) -> "Detections":
        return Detections(instances.image_size, self._description, **instances.get_fields())

    def to_coco(self, image_id: int) -> list[dict[str, Any]]:
        """Return COCO's results format, with the categories' ids in the json.

        Returns:
            For each detection {"image_id", "category_id", "bbox": XYWH, "score"} and, where there
            are masks, "segmentation": RLE.
        """
        plain = Instances(self.image_size, **self.get_fields())
        rles = self.get_fields().get("pred_masks")
        if isinstance(rles, np.ndarray):
            plain.remove("pred_masks")
        results = instances_to_coco_json(plain.to("cpu"), image_id)
        for i, result in enumerate(results):
            result["category_id"] = self._description.category_ids[result["category_id"]]
            if isinstance(rles, np.ndarray):
                result["segmentation"] = dict(rles[i])
        return results


def encode_mask(mask: np.ndarray) -> dict[str, Any]:
    """Encode a mask (H, W) as COCO's RLE with its counts as text."""
    rle = pycocotools.mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": rle["size"], "counts": rle["counts"].decode("ascii")}
