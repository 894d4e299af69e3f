"""The images with the most errors, drawn: what is there beside what was found."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pycocotools.mask
from detectron2.data import Metadata, detection_utils
from detectron2.utils.visualizer import Visualizer
from matplotlib.colors import to_rgb
from PIL import Image
from pycocotools.cocoeval import COCOeval

from imted.visualization.drawing import GAP

from .inputs import Truth
from .matching import ImageMatches
from .plots import COLOURS
from .tide import ImageErrors

LONG_SIDE = 560
"""Pixels of the longer side of each of the two pictures."""


@dataclass(frozen=True)
class WorstImage:
    """An image with its errors.

    Attributes:
        file_name: As in the json.
        picture: File name of the drawing, "" where the image can't be read.
        errors: How many there are of each kind.
    """

    file_name: str
    picture: str
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
    """Draw the images with the most errors.

    Args:
        truth: The annotations, and where the images are.
        evaluation: What COCO's evaluation has made of the predictions.
        images: All images.
        errors: What is wrong in each.
        threshold: That of the errors; detections of a lower score are left out.
        number: Most images to draw.
        folder: Where the pictures go.

    Returns:
        The images, those with the most errors first; one without errors isn't among them.
    """
    found = [pair for pair in zip(images, errors, strict=True) if pair[1].count.total()]
    found.sort(key=lambda pair: -pair[1].count.total())
    worst = []
    for rank, (image, wrong) in enumerate(found[:number], start=1):
        entry = truth.coco.imgs[image.image_id]
        name = f"worst_{rank:02d}.jpg"
        path = os.path.join(truth.image_root, entry["file_name"])
        try:
            pixels = detection_utils.read_image(path, "RGB")
        except Exception:  # whatever a decoder raises: the report is about the predictions
            name = ""
        else:
            picture = _draw(pixels, truth, evaluation, image, wrong, threshold)
            Image.fromarray(picture).save(os.path.join(folder, name), quality=90)
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
    classes = truth.classes
    objects = _Side(pixels, evaluation.params.iouType)
    for g, key in enumerate(image.objects.tolist()):
        kind = "missed" if errors.missed[g] else "right"
        label = classes[image.object_classes[g]]
        label += " crowd" if image.crowd[g] else " (missed)" if kind == "missed" else ""
        objects.add(truth.coco.anns[key], label, kind)
    detections = _Side(pixels, evaluation.params.iouType)
    for d, key in enumerate(image.detections.tolist()):
        if image.scores[d] < threshold:
            continue
        kind = errors.kinds.get(d, "right")
        label = f"{classes[image.classes[d]]} {image.scores[d]:.0%}"
        label += "" if kind == "right" else f" ({kind})"
        detections.add(evaluation.cocoDt.anns[key], label, kind)
    pictures = [objects.draw(), detections.draw()]
    gap = np.full((pictures[0].shape[0], GAP, 3), 255, dtype=np.uint8)
    return np.concatenate([pictures[0], gap, pictures[1]], axis=1)


class _Side:
    """One picture, of what is there or of what was found."""

    def __init__(self, pixels: np.ndarray, task: str) -> None:
        self.pixels, self.task = pixels, task
        self.boxes: list[list[float]] = []
        self.masks: list[np.ndarray] = []
        self.labels: list[str] = []
        self.colours: list[tuple[float, ...]] = []

    def add(self, annotation: dict, label: str, kind: str) -> None:
        """Add an object or a detection."""
        x, y, width, height = annotation["bbox"]
        self.boxes.append([x, y, x + width, y + height])
        self.labels.append(label)
        self.colours.append(to_rgb(COLOURS[kind]))
        if self.task == "segm":  # COCO's evaluation has made all masks RLE
            self.masks.append(pycocotools.mask.decode(annotation["segmentation"]))

    def draw(self) -> np.ndarray:
        """Return the picture."""
        scale = LONG_SIDE / max(self.pixels.shape[:2])
        visualizer = Visualizer(self.pixels, Metadata(name="analysis"), scale=scale)
        if self.boxes:
            visualizer.overlay_instances(
                boxes=None if self.masks else np.array(self.boxes),
                masks=self.masks or None,
                labels=self.labels,
                assigned_colors=self.colours,
                alpha=0.4,
            )
        return visualizer.output.get_image()
