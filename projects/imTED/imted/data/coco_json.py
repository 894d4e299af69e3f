"""COCO-format json files: reading, and registering them with Detectron2."""

from contextlib import redirect_stdout
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.utils.file_io import PathManager
from pycocotools.coco import COCO

from imted.atomic import read_json
from imted.errors import UserError

SECTIONS = ("images", "annotations", "categories")
REFERENCES: dict[str, dict[str, Any]] = {
    "images": {"id": int | float, "file_name": str},
    "annotations": {"id": int | float, "image_id": int | float, "category_id": int | float},
    "categories": {"id": int | float, "name": str},
}
"""What entries are named by, and refer to each other by."""


def read_coco(json_file: str, references: bool = False) -> dict[str, Any]:
    """Read a COCO-format file.

    Args:
        json_file: A local path or any iopath URL.
        references: Require `REFERENCES` of every entry, for those who don't check the rest, and
            make classes that are named by a number names.

    Raises:
        UserError: There is no such file, or one of COCO's lists or a required field is missing.
    """
    if not PathManager.isfile(json_file):
        raise UserError(
            f"{json_file}: there is no such annotation file; correct the path, or make "
            "the file (datasets/README.md)."
        )
    try:
        content = read_json(json_file)
    except ValueError as error:
        raise UserError(f"{json_file} is not readable as JSON: {error}.") from error
    expected = "a COCO data set is an object with the lists " + ", ".join(map(repr, SECTIONS))
    if isinstance(content, list):
        raise UserError(f"{json_file} holds a list, as a results file does; {expected}.")
    for section in SECTIONS:
        entries = content.get(section) if isinstance(content, dict) else None
        if not isinstance(entries, list):
            raise UserError(f"{json_file} has no list {section!r}; {expected}.")
        if not all(isinstance(entry, dict) for entry in entries):
            raise UserError(f"{json_file}: {section!r} holds something that is not an object.")
        if references and section == "categories":
            name_by_text(entries)
        for entry in entries if references else ():
            for key, kind in REFERENCES[section].items():
                if not isinstance(entry.get(key), kind):
                    raise UserError(
                        f"{json_file}: {section!r} holds an entry without a usable {key!r} "
                        f"({str(entry)[:80]}); correct or remove it."
                    )
    return content


def name_by_text(categories: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Turn names that are integers into text, in place; return the categories that had one."""
    found = [c for c in categories if type(c.get("name")) is int]
    for category in found:
        category["name"] = str(category["name"])
    return found


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
    if name in DatasetCatalog.list():
        DatasetCatalog.remove(name)
    if name in MetadataCatalog.list():
        MetadataCatalog.remove(name)
    metadata = {
        "thing_classes": list(classes.values()),
        "thing_dataset_id_to_contiguous_id": {key: i for i, key in enumerate(classes)},
    }
    register_coco_instances(name, metadata, json_file, image_root)
