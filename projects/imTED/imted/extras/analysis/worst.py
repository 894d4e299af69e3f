"""The images with the most errors, drawn: what is there beside what was found."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from detectron2.data import detection_utils
from PIL import ImageColor
from pycocotools.cocoeval import COCOeval

from imted.outputs import write_picture
from imted.visualization.drawing import side_by_side
from imted.visualization.painting import PaintedObject, paint

from .inputs import Truth
from .matching import ImageMatches
from .plots import COLOURS
from .tide import ImageErrors

LONG_SIDE = 560
"""Pixels of the longer side of each of the two pictures."""


@dataclass(frozen=True)
class WorstImage:
    """An image of the json, and how many errors of each kind it has."""

    file_name: str
    picture: str  # file name of the drawing, "" where the image can't be read
    errors: dict[str, int]


def draw_worst(
    truth: Truth,
    evaluation: COCOeval,
    images: Sequence[ImageMatches],
    errors: Sequence[ImageErrors],
    threshold: float,
    number: int,
    folder: str,
) -> list[WorstImage]:
    """Draw the images with the most errors, at most so many, into a folder.

    Args:
        truth: The annotations, and where the images are.
        evaluation: The predictions, evaluated.
        images: All images.
        errors: What is wrong in each.
        threshold: That of the errors; detections of a lower score are left out.
        number: Most images to draw.
        folder: Where the pictures go.
    """
    found = sorted(zip(images, errors, strict=True), key=lambda pair: -pair[1].count.total())
    worst = []
    for rank, (image, wrong) in enumerate(found[:number], start=1):
        if not wrong.count.total():
            break
        entry = truth.coco.imgs[image.image_id]
        name = f"worst_{rank:02d}.jpg"
        path = os.path.join(truth.image_root, entry["file_name"])
        try:
            pixels = detection_utils.read_image(path, "RGB")
        except Exception:  # whatever a decoder raises: the report is about the predictions
            name = ""
        else:
            picture = _draw(pixels, truth, evaluation, image, wrong, threshold)
            write_picture(picture, os.path.join(folder, name), quality=90)
        worst.append(WorstImage(entry["file_name"], name, dict(wrong.count)))
    return worst


def _draw(
    pixels: np.ndarray,
    truth: Truth,
    evaluation: COCOeval,
    image: ImageMatches,
    errors: ImageErrors,
    threshold: float,
) -> np.ndarray:
    """Draw objects at the left, missed ones in their colour, and detections at the right."""
    names, masks = truth.classes, evaluation.params.iouType == "segm"
    objects, detections = [], []
    for g, key in enumerate(image.objects.tolist()):
        kind = "missed" if errors.missed[g] else "right"
        mark = " crowd" if image.crowd[g] else " (missed)" if kind == "missed" else ""
        label = f"{names[image.object_classes[g]]}{mark}"
        objects.append((truth.coco.anns[key], label, COLOURS[kind]))
    for d, key in enumerate(image.detections.tolist()):
        if image.scores[d] >= threshold:
            kind = errors.kinds.get(d, "right")
            label = f"{names[image.classes[d]]} {image.scores[d]:.0%}"
            label += "" if kind == "right" else f" ({kind})"
            detections.append((evaluation.cocoDt.anns[key], label, COLOURS[kind]))
    return side_by_side(*(_draw_side(pixels, rows, masks) for rows in (objects, detections)))


def _draw_side(
    pixels: np.ndarray, rows: Sequence[tuple[dict, str, str]], masks: bool
) -> np.ndarray:
    """Draw annotations with a label and a colour each: their masks, or else their boxes."""
    objects = []
    for annotation, label, colour in rows:
        x, y, w, h = annotation["bbox"]
        # COCO's evaluation has made all masks RLE.
        box, mask = (None, annotation["segmentation"]) if masks else ((x, y, x + w, y + h), None)
        red, green, blue = ImageColor.getrgb(colour)[:3]
        objects.append(PaintedObject(box, (red, green, blue), label, mask))
    return paint(pixels, objects, LONG_SIDE / max(pixels.shape[:2]))
