"""Images with one box and one label, in the folders of ImageNet's localisation task (CLS-LOC).

ROOT/Data/CLS-LOC/train/<class>/<name>.JPEG      ROOT/Annotations/CLS-LOC/train/<class>/<name>.xml
ROOT/Data/CLS-LOC/val/<name>.JPEG                ROOT/Annotations/CLS-LOC/val/<name>.xml
"""

import logging
import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from detectron2.data import DatasetMapper
from detectron2.structures import BoxMode

from imted.errors import UserError

logger = logging.getLogger(__name__)

IMAGES, ANNOTATIONS = "Data/CLS-LOC", "Annotations/CLS-LOC"
SPLITS = ("train", "val")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def read_single_object(root: str, split: str, num_classes: int) -> list[dict[str, Any]]:
    """List the images of a split that have exactly one box, in Detectron2's form.

    The classes are the folders of ANNOTATIONS/train, by name. Images with several boxes, of one
    class or more, are left out; those without an XML file aren't listed. Neither width nor
    height is taken from the XML: Detectron2's mapper sets those of the image itself.

    Args:
        root: The folder of `Data` and `Annotations`.
        split: "train" or "val".
        num_classes: What the model has; the folders must be as many.

    Returns:
        One dict per image, ordered by file: "file_name", "image_id" (its number from 1) and
        "annotations", a list of one box.

    Raises:
        UserError: A folder or an image is missing, the classes are other or more than the
            model's, an XML can't be read, or no image has exactly one box.
    """
    if split not in SPLITS:
        raise UserError(f"The split {split!r} of {root} is not one of {' and '.join(SPLITS)}.")
    images, annotations = Path(root, IMAGES, split), Path(root, ANNOTATIONS, split)
    for folder in (images, annotations):
        if not folder.is_dir():
            raise UserError(
                f"{folder} does not exist; name the folder of Data and Annotations with "
                "dataloader.train.dataset.root."
            )
    classes = list_classes(root)
    if len(classes) != num_classes:
        raise UserError(
            f"{Path(root, ANNOTATIONS, 'train')} has {len(classes)} classes and the model "
            f"{num_classes}; set model.num_classes={len(classes)}."
        )
    numbers = {name: number for number, name in enumerate(classes)}
    files = sorted(annotations.rglob("*.xml"))
    records = []
    for file in files:
        objects = read_boxes(file)
        if len(objects) != 1:
            continue
        ((name, box),) = objects
        if name not in numbers:
            raise UserError(f"{file}: the object's name {name!r} is none of the train folders.")
        image = (images / file.relative_to(annotations)).with_suffix(".JPEG")
        if not image.is_file():
            raise UserError(f"{file} describes {image}, which does not exist; unpack it there.")
        annotation = {"bbox": box, "bbox_mode": BoxMode.XYXY_ABS, "category_id": numbers[name]}
        records.append(
            {"file_name": str(image), "image_id": len(records) + 1, "annotations": [annotation]}
        )
    if not records:
        raise UserError(f"{annotations} has no XML file with exactly one object.")
    logger.info("%s: %d of %d images have exactly one box", annotations, len(records), len(files))
    return records


class SingleObjectMapper(DatasetMapper):
    """Detectron2's mapper, which rejects training images whose box lies outside of them."""

    def __call__(self, dataset_dict: dict[str, Any]) -> dict[str, Any] | None:
        """Read and augment one image; None rejects it."""
        sample = super().__call__(dataset_dict)
        return None if self.is_train and not len(sample["instances"]) else sample


def list_classes(root: str) -> list[str]:
    """Name the classes in the order of their numbers: the folders of the training split."""
    folder = Path(root, ANNOTATIONS, "train")
    return (
        sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    )


def read_boxes(file: Path) -> list[tuple[str, list[float]]]:
    """Read the name and the box (x1, y1, x2, y2, pixels, as they stand) of each object.

    Raises:
        UserError: The XML is broken, or an object lacks its name or a box with an area.
    """
    try:
        root = ElementTree.parse(file).getroot()
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise UserError(f"{file} is not XML ({error}); unpack it again.") from None
    objects = []
    for number, item in enumerate(root.iter("object"), 1):
        name = (item.findtext("name") or "").strip()
        if not name:
            raise UserError(f"{file}: object {number} has no name; correct the file.")
        texts = [item.findtext(f"bndbox/{key}") for key in _CORNERS]
        try:
            box = [float(text or "") for text in texts]
        except ValueError:
            raise UserError(
                f"{file}: bndbox of object {number} needs numbers in {', '.join(_CORNERS)}, not "
                f"{texts}; correct the file."
            ) from None
        if not all(map(math.isfinite, box)) or box[0] >= box[2] or box[1] >= box[3]:
            raise UserError(
                f"{file}: bndbox of object {number}, {box}, has no area; correct the file."
            )
        objects.append((name, box))
    return objects
