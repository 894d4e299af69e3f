"""Draw annotations, training samples and predictions on images, with Detectron2's Visualizer."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from detectron2.data import Metadata, detection_utils
from detectron2.structures import BoxMode, Instances
from detectron2.utils.colormap import colormap
from detectron2.utils.visualizer import Visualizer

from imted.atomic import read_json
from imted.errors import UserError
from imted.run_folder import PREDICTIONS

LONG_SIDE = 800
"""Pixels that small images are enlarged to, so that labels can be read."""
GAP = 8
"""Pixels of white between two pictures."""


@dataclass
class Objects:
    """What to draw on one image; entry i of each list belongs to object i.

    Attributes:
        boxes: XYXY in pixels.
        classes: Contiguous class numbers.
        labels: Texts.
        masks: Polygons, COCO RLE or bitmap (H, W); None for an object without.
    """

    boxes: list[Sequence[float]] = field(default_factory=list)
    classes: list[int] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    masks: list[Any] = field(default_factory=list)

    def add(self, box: Sequence[float], class_index: int, label: str, mask: Any = None) -> None:
        """Add one object."""
        self.boxes.append(box)
        self.classes.append(class_index)
        self.labels.append(label)
        self.masks.append(mask)


def draw_annotations(
    record: dict[str, Any], metadata: Metadata, long_side: int = LONG_SIDE
) -> np.ndarray:
    """Draw the annotations of one image.

    Args:
        record: The image in Detectron2's dataset format, read from its "file_name".
        metadata: With `thing_classes`.
        long_side: Pixels that a small image's longer side is enlarged to.

    Returns:
        RGB picture (H', W', 3), uint8; enlarged if the image is small.
    """
    objects = Objects()
    for annotation in record["annotations"]:
        box = BoxMode.convert(annotation["bbox"], annotation["bbox_mode"], BoxMode.XYXY_ABS)
        label = _class_name(metadata, annotation["category_id"])
        if annotation.get("iscrowd"):
            label = f"{label} crowd".strip()
        objects.add(box, annotation["category_id"], label, annotation.get("segmentation"))
    return _draw(_read_rgb(record), objects, metadata, long_side)


def draw_predictions(
    record: dict[str, Any],
    predictions: list[dict[str, Any]],
    metadata: Metadata,
    score: float,
    long_side: int = LONG_SIDE,
) -> np.ndarray:
    """Draw the truth of one image and, to its right, the predictions.

    Args:
        record: The image in Detectron2's dataset format.
        predictions: COCO results of this image, with the json's category ids.
        metadata: With `thing_classes` and `thing_dataset_id_to_contiguous_id`.
        score: Predictions below it are not drawn.
        long_side: Pixels that a small image's longer side is enlarged to.

    Returns:
        RGB picture (H', 2 W' + gap, 3), uint8.

    Raises:
        UserError: A prediction has a category that the data set does not have.
    """
    class_of = metadata.thing_dataset_id_to_contiguous_id
    objects = Objects()
    for prediction in predictions:
        if prediction["score"] < score:
            continue
        if prediction["category_id"] not in class_of:
            raise UserError(
                f"A prediction for image {record['image_id']} has category_id "
                f"{prediction['category_id']}, which the annotations' json does not have; "
                "predictions and annotations must be of one data set."
            )
        index = class_of[prediction["category_id"]]
        box = BoxMode.convert(prediction["bbox"], BoxMode.XYWH_ABS, BoxMode.XYXY_ABS)
        label = f"{_class_name(metadata, index)} {prediction['score']:.0%}".strip()
        objects.add(box, index, label, prediction.get("segmentation"))
    truth = draw_annotations(record, metadata, long_side)
    predicted = _draw(_read_rgb(record), objects, metadata, long_side)
    gap = np.full((truth.shape[0], GAP, 3), 255, dtype=np.uint8)
    return np.concatenate([truth, gap, predicted], axis=1)


def draw_training_sample(
    sample: dict[str, Any], image_format: str, metadata: Metadata
) -> np.ndarray:
    """Draw an image as the model sees it in training, after augmentation.

    Args:
        sample: What the training loader's mapper returns: "image" (3, H, W), "instances".
        image_format: "RGB" or "BGR", the mapper's.
        metadata: With `thing_classes`.

    Returns:
        RGB picture (H', W', 3), uint8.
    """
    image = detection_utils.convert_image_to_rgb(sample["image"].permute(1, 2, 0), image_format)
    instances = sample["instances"]
    masks = [None] * len(instances)
    if instances.has("gt_masks"):
        masks = [m.numpy() if hasattr(m, "numpy") else m for m in instances.gt_masks]
    objects = Objects()
    rows = zip(
        instances.gt_boxes.tensor.tolist(), instances.gt_classes.tolist(), masks, strict=True
    )
    for box, index, mask in rows:
        objects.add(box, index, _class_name(metadata, index), mask)
    return _draw(image, objects, metadata)


def draw_instances(
    image: np.ndarray, instances: Instances, metadata: Metadata, long_side: int = LONG_SIDE
) -> np.ndarray:
    """Draw what a detector found in one image.

    Args:
        image: RGB (H, W, 3), uint8.
        instances: With `pred_boxes`, `pred_classes`, `scores` and maybe `pred_masks`.
        metadata: With `thing_classes`.
        long_side: Pixels that a small image's longer side is enlarged to.

    Returns:
        RGB picture (H', W', 3), uint8.
    """
    masks: list[Any] = [None] * len(instances)
    if instances.has("pred_masks"):
        masks = [m.numpy() if hasattr(m, "numpy") else m for m in instances.pred_masks]
    objects = Objects()
    rows = zip(
        instances.pred_boxes.tensor.tolist(),
        instances.pred_classes.tolist(),
        instances.scores.tolist(),
        masks,
        strict=True,
    )
    for box, index, score, mask in rows:
        objects.add(box, index, f"{_class_name(metadata, index)} {score:.0%}".strip(), mask)
    return _draw(image, objects, metadata, long_side)


def load_predictions(path: str) -> dict[int, list[dict[str, Any]]]:
    """Read a `coco_instances_results.json` and return its results by image id.

    Raises:
        UserError: The file is missing or holds something else.
    """
    results = read_json(path, "predictions file")
    needed = {"image_id", "category_id", "bbox", "score"}
    if not isinstance(results, list) or not all(
        isinstance(result, dict) and needed <= result.keys() for result in results
    ):
        raise UserError(
            f"{path} holds no COCO results; give the list of objects with "
            f"{', '.join(sorted(needed))} that an evaluation writes as "
            f"{PREDICTIONS}."
        )
    by_image = defaultdict(list)
    for result in results:
        by_image[result["image_id"]].append(result)
    return by_image


def _read_rgb(record: dict[str, Any]) -> np.ndarray:
    return detection_utils.read_image(record["file_name"], "RGB")


def _class_name(metadata: Metadata, index: int) -> str:
    """Name a class; with a single one the name would only hide the objects."""
    names = metadata.thing_classes
    return names[index] if len(names) > 1 else ""


def _draw(
    image: np.ndarray, objects: Objects, metadata: Metadata, long_side: int = LONG_SIDE
) -> np.ndarray:
    scale = max(1.0, long_side / max(image.shape[:2]))
    visualizer = Visualizer(image, metadata, scale=scale)
    several = len(metadata.thing_classes) > 1
    palette = colormap(rgb=True, maximum=1)
    # Detectron2 draws masks for all objects of a call or for none.
    for with_mask in (True, False):
        chosen = [i for i, mask in enumerate(objects.masks) if (mask is not None) == with_mask]
        if chosen:
            keys = [objects.classes[i] if several else i for i in chosen]
            visualizer.overlay_instances(
                boxes=np.asarray([objects.boxes[i] for i in chosen], dtype=float),
                masks=[objects.masks[i] for i in chosen] if with_mask else None,
                labels=[objects.labels[i] for i in chosen],
                assigned_colors=[tuple(palette[key % len(palette)]) for key in keys],
            )
    return visualizer.output.get_image()
