"""Images with one box and one label, in the folders of ImageNet's localisation task (CLS-LOC).

ROOT/Data/CLS-LOC/train/<class>/<name>.JPEG      ROOT/Annotations/CLS-LOC/train/<class>/<name>.xml
ROOT/Data/CLS-LOC/val/<name>.JPEG                ROOT/Annotations/CLS-LOC/val/<name>.xml
"""

import logging
import math
from collections.abc import Sequence
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

    The classes are the folders of ANNOTATIONS/train, by name; a training image has the class of
    its folder. Images with several boxes, of one class or more, are left out, as are those whose
    box has no area; those without an XML file aren't listed.

    Args:
        root: The folder of `Data` and `Annotations`.
        split: "train" or "val".
        num_classes: What the model has; the folders must be as many.

    Returns:
        One dict per image, ordered by file: "file_name", "image_id" (its number from 1),
        "annotated_size" and "annotations", a list of one box. The box counts in pixels of the
        annotated size, the XML's (width, height), which isn't always the image's; None where the
        XML states none.

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
    records: list[dict[str, Any]] = []
    without_area = 0
    for file in files:
        size, objects = read_xml(file)
        if len(objects) != 1:
            continue
        ((name, box),) = objects
        if box[0] == box[2] or box[1] == box[3]:
            without_area += 1
            continue
        if split == "train":  # some XML files of ImageNet have a word instead of the folder's name
            name = file.relative_to(annotations).parts[0]
        if name not in numbers:
            raise UserError(f"{file}: the object's name {name!r} is none of the train folders.")
        image = (images / file.relative_to(annotations)).with_suffix(".JPEG")
        if not image.is_file():
            raise UserError(f"{file} describes {image}, which does not exist; unpack it there.")
        annotation = {"bbox": box, "bbox_mode": BoxMode.XYXY_ABS, "category_id": numbers[name]}
        record = {"file_name": str(image), "image_id": len(records) + 1, "annotated_size": size}
        records.append({**record, "annotations": [annotation]})
    if not records:
        raise UserError(f"{annotations} has no XML file with exactly one object.")
    logger.info(
        "%s: %d of %d images have exactly one box; %d more have one of no area",
        *(annotations, len(records), len(files), without_area),
    )
    return records


class SingleObjectMapper(DatasetMapper):
    """Detectron2's mapper for what `read_single_object` lists.

    Boxes are brought from the annotated to the image's own size; training images whose box lies
    outside of them are rejected.
    """

    def __call__(self, dataset_dict: dict[str, Any]) -> dict[str, Any] | None:
        """Read and augment one image; None rejects it."""
        sample = super().__call__(dataset_dict)
        return None if self.is_train and not len(sample["instances"]) else sample

    def _transform_annotations(
        self, dataset_dict: dict, transforms: Any, image_shape: tuple
    ) -> None:
        if dataset_dict["annotated_size"] is not None:
            own = dataset_dict["width"], dataset_dict["height"]
            x, y = (new / old for new, old in zip(own, dataset_dict["annotated_size"], strict=True))
            for annotation in dataset_dict["annotations"]:
                x1, y1, x2, y2 = annotation["bbox"]
                annotation["bbox"] = [x1 * x, y1 * y, x2 * x, y2 * y]
        super()._transform_annotations(dataset_dict, transforms, image_shape)


def list_classes(root: str) -> list[str]:
    """Name the classes in the order of their numbers: the folders of the training split."""
    folder = Path(root, ANNOTATIONS, "train")
    entries = folder.iterdir() if folder.is_dir() else ()
    return sorted(path.name for path in entries if path.is_dir())


def read_xml(
    file: Path,
) -> tuple[tuple[float, float] | None, list[tuple[str, list[float]]]]:
    """Read the size (width, height) that an XML states, and the name and box of each object.

    Returns:
        The size, None where it is absent or 0; and for each object its name and x1, y1, x2, y2 in
        pixels, with x1 <= x2 and y1 <= y2 (some boxes of ImageNet have them exchanged).

    Raises:
        UserError: The XML is broken, or an object is missing its name or a box.
    """
    try:
        root = ElementTree.parse(file).getroot()
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise UserError(f"{file} is not XML ({error}); unpack it again.") from None
    size = _numbers(root, [f"size/{key}" for key in ("width", "height")])
    objects = []
    for number, item in enumerate(root.iter("object"), 1):
        name = (item.findtext("name") or "").strip()
        if not name:
            raise UserError(f"{file}: object {number} has no name; correct the file.")
        box = _numbers(item, [f"bndbox/{key}" for key in _CORNERS])
        if box is None:
            raise UserError(
                f"{file}: bndbox of object {number} needs numbers in {', '.join(_CORNERS)}; "
                "correct the file."
            )
        (x1, x2), (y1, y2) = sorted(box[::2]), sorted(box[1::2])
        objects.append((name, [x1, y1, x2, y2]))
    return ((size[0], size[1]) if size is not None and min(size) > 0 else None), objects


def _numbers(element: ElementTree.Element, paths: Sequence[str]) -> list[float] | None:
    """Read finite numbers; None if one is absent or something else."""
    try:
        numbers = [float(element.findtext(path) or "") for path in paths]
    except ValueError:
        return None
    return numbers if all(map(math.isfinite, numbers)) else None
