"""Draw annotations, training samples and predictions on images."""

import functools
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from detectron2.data import Metadata, detection_utils
from detectron2.structures import Boxes, BoxMode, Instances
from detectron2.utils.colormap import colormap

from imted.atomic import read_json
from imted.errors import UserError
from imted.run_folder import PREDICTIONS
from imted.visualization.painting import Colour, PaintedObject, paint

LONG_SIDE = 800
"""Pixels that small images are enlarged to, so that labels can be read."""
GREY = 100
"""The difference of its highest and lowest channel up to which a colour is a grey."""
GAP = 8
"""Pixels of white between two pictures."""


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
    objects: list[PaintedObject] = []
    for annotation in record["annotations"]:
        box = BoxMode.convert(annotation["bbox"], annotation["bbox_mode"], BoxMode.XYXY_ABS)
        index = annotation["category_id"]
        label = _class_name(metadata, index) + (" crowd" if annotation.get("iscrowd") else "")
        colour = _colour(metadata, index, len(objects))
        objects.append(PaintedObject(box, colour, label.strip(), annotation.get("segmentation")))
    return _enlarged(_read_rgb(record), objects, long_side)


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
    objects: list[PaintedObject] = []
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
        colour = _colour(metadata, index, len(objects))
        objects.append(PaintedObject(box, colour, label, prediction.get("segmentation")))
    truth = draw_annotations(record, metadata, long_side)
    return side_by_side(truth, _enlarged(_read_rgb(record), objects, long_side))


def side_by_side(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Join two pictures of one height, white between them."""
    gap = np.full((left.shape[0], GAP, 3), 255, dtype=np.uint8)
    return np.concatenate([left, gap, right], axis=1)


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
    found = sample["instances"]
    classes = found.gt_classes.tolist()
    colours = [_colour(metadata, index, place) for place, index in enumerate(classes)]
    labels = [_class_name(metadata, index) for index in classes]
    masks = found.get_fields().get("gt_masks")
    return _enlarged(image, _objects(found.gt_boxes, colours, labels, masks), LONG_SIDE)


def draw_instances(
    image: np.ndarray,
    instances: Instances,
    metadata: Metadata,
    long_side: int = LONG_SIDE,
    colours: Sequence[int] | None = None,
) -> np.ndarray:
    """Draw what a detector found in one image.

    Args:
        image: RGB (H, W, 3), uint8.
        instances: With `pred_boxes`, `pred_classes`, `scores` and maybe `pred_masks`.
        metadata: With `thing_classes`.
        long_side: Pixels that a small image's longer side is enlarged to.
        colours: The place of each object's colour in the palette; by default that of its class,
            or with a single class, its own.

    Returns:
        RGB picture (H', W', 3), uint8.
    """
    classes = instances.pred_classes.tolist()
    if colours is None:
        painted = [_colour(metadata, index, place) for place, index in enumerate(classes)]
    else:
        painted = [palette_colour(number) for number in colours]
    labels = [
        f"{_class_name(metadata, index)} {score:.0%}".strip()
        for index, score in zip(classes, instances.scores.tolist(), strict=True)
    ]
    masks = instances.get_fields().get("pred_masks")
    return _enlarged(image, _objects(instances.pred_boxes, painted, labels, masks), long_side)


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


def _colour(metadata: Metadata, class_index: int, place: int) -> Colour:
    """Choose an object's colour: its class's, or with a single class, its own."""
    return palette_colour(class_index if len(metadata.thing_classes) > 1 else place)


def _objects(
    boxes: Boxes, colours: Sequence[Colour], labels: Sequence[str], masks: Any
) -> list[PaintedObject]:
    masks = [None] * len(boxes) if masks is None else masks
    masks = [mask.numpy() if hasattr(mask, "numpy") else mask for mask in masks]
    rows = zip(boxes.tensor.tolist(), colours, labels, masks, strict=True)
    return [PaintedObject(*row) for row in rows]


def _enlarged(image: np.ndarray, objects: Sequence[PaintedObject], long_side: int) -> np.ndarray:
    """Paint objects into an image that is enlarged to a longer side, if it is smaller."""
    return paint(image, objects, max(1.0, long_side / max(image.shape[:2])))


def palette_colour(number: int) -> Colour:
    """Return a colour of Detectron2's palette without its greys, which begins anew at its end."""
    palette = _palette()
    return palette[number % len(palette)]


@functools.cache
def _palette() -> list[Colour]:
    colours = colormap(rgb=True, maximum=255).astype(int)
    return [(red, green, blue) for red, green, blue in colours[np.ptp(colours, 1) > GREY].tolist()]
