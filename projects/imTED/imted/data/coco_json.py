"""COCO-format json files: loading them, and handing them to COCO's API and to Detectron2."""

from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from pycocotools.coco import COCO

from imted.atomic import read_json
from imted.errors import UserError

SECTIONS = ("images", "annotations", "categories")


def load_coco(json_file: str, sections: Sequence[str] = SECTIONS) -> dict[str, Any]:
    """Load a COCO-format file as it is; `imted.data.read_coco` checks what is in it, too.

    Args:
        json_file: A local path or any iopath URL.
        sections: The lists that it must have.

    Raises:
        UserError: There is no such file, or one of the lists is missing.
    """
    content = read_json(
        json_file, "annotation file; correct the path, or make the file (datasets/README.md)"
    )
    expected = "a COCO data set is an object with the lists " + ", ".join(map(repr, SECTIONS))
    if isinstance(content, list):
        raise UserError(f"{json_file} holds a list, as a results file does; {expected}.")
    for section in sections:
        entries = content.get(section) if isinstance(content, dict) else None
        if not isinstance(entries, list):
            raise UserError(f"{json_file} has no list {section!r}; {expected}.")
        if not all(isinstance(entry, dict) for entry in entries):
            raise UserError(f"{json_file}: {section!r} holds something that is not an object.")
    return content


def categories_of(content: dict[str, Any]) -> dict[int, str]:
    """Return a data set's class names by id, in the order in which Detectron2 numbers them."""
    return {c["id"]: c["name"] for c in sorted(content["categories"], key=lambda c: c["id"])}


def index_coco(content: dict[str, Any]) -> COCO:
    """Index a COCO json that is in memory, without the API's prints; it is kept, not copied."""
    coco = COCO()
    coco.dataset = content
    with redirect_stdout(None):
        coco.createIndex()
    return coco


def register_coco_json(name: str, json_file: str, image_root: str, classes: dict[int, str]) -> None:
    """Register a COCO json with Detectron2, in place of what had the name before.

    Args:
        name: The data set's name in the catalogs.
        json_file: The annotations.
        image_root: Folder of the image files.
        classes: Category names by category id, ids ascending; Detectron2 numbers the classes
            from 0 in this order, whatever the ids are.
    """
    for catalog in (DatasetCatalog, MetadataCatalog):
        catalog.pop(name, None)
    metadata = {
        "thing_classes": list(classes.values()),
        "thing_dataset_id_to_contiguous_id": {key: i for i, key in enumerate(classes)},
    }
    register_coco_instances(name, metadata, json_file, image_root)
