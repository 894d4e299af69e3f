"""Data sets by their names in Detectron2's catalog: COCO, PASCAL VOC, LVIS, or a user's own."""

import difflib
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

from detectron2.data import DatasetCatalog, MetadataCatalog, get_detection_dataset_dicts
from detectron2.utils.file_io import PathManager

from imted.data.shared_records import load_once
from imted.errors import UserError
from imted.processes import on_main_process

_CLASSES = ("thing_classes", "thing_dataset_id_to_contiguous_id")


class SelfRegistering(Protocol):
    """A data set that registers itself, such as `imted.data.coco_check.dataset.CocoDataset`."""

    def register(self, name: str) -> None:
        """Put what has this name into Detectron2's catalogs."""


def datasets_root() -> Path:
    """Return the folder of all data: DETECTRON2_DATASETS, `datasets` by default."""
    return Path(os.environ.get("DETECTRON2_DATASETS", "datasets"))


def dataset_dicts(
    names: str | Sequence[str], filter_empty: bool = True, source: SelfRegistering | None = None
) -> Sequence[dict]:
    """Load data sets by Detectron2's `get_detection_dataset_dicts`, and say what is missing.

    Several processes of a machine share what one of them loads; all must call this.

    Args:
        names: One or more names, such as "coco_2017_train".
        filter_empty: Leave images without annotations out.
        source: What registers the names first; by default they are registered already.

    Raises:
        UserError: A name is unknown, or the annotations, the images or the package that reads
            them are missing.
    """
    names = [names] if isinstance(names, str) else list(names)
    if source is not None:
        for name in names:
            source.register(name)
    unknown = next((name for name in names if name not in DatasetCatalog.list()), None)
    if unknown is not None:
        near = difflib.get_close_matches(unknown, DatasetCatalog.list(), n=1)
        hint = f"did you mean {near[0]}?" if near else "register it in the config."
        raise UserError(f"No data set has the name {unknown!r} (dataloader); {hint}")
    records = load_once(partial(_load, names, filter_empty))
    _share_metadata(names)
    return records


def _share_metadata(names: list[str]) -> None:
    """Let all processes know the classes, which some of Detectron2's loaders find in the data."""

    def read() -> list[dict]:
        all_facts = [MetadataCatalog.get(name).as_dict() for name in names]
        return [{key: facts[key] for key in _CLASSES if key in facts} for facts in all_facts]

    for name, facts in zip(names, on_main_process(read), strict=True):
        MetadataCatalog.get(name).set(**facts)


def _load(names: list[str], filter_empty: bool) -> list[dict]:
    title = " and ".join(names)
    try:
        dicts = get_detection_dataset_dicts(names, filter_empty=filter_empty)
    except FileNotFoundError as error:
        raise UserError(_missing(title, error.filename)) from None
    except ModuleNotFoundError as error:
        raise UserError(
            f"{title} (dataloader) needs the package {error.name}, which isn't installed; "
            f"pip install --no-deps {error.name}."
        ) from None
    except AssertionError as error:  # Detectron2's own words for a data set without images
        raise UserError(f"{title} (dataloader) has no image to use: {error}") from None
    for record in (dicts[0], dicts[-1]):  # all of them would take a minute
        if not PathManager.isfile(record["file_name"]):
            raise UserError(_missing(title, record["file_name"]))
    return dicts


def _missing(title: str, path: str) -> str:
    return (
        f"{title} (dataloader) needs {path}, which doesn't exist; unpack it there, or set the "
        "environment variable DETECTRON2_DATASETS to the folder of your data sets "
        "(datasets/README.md)."
    )
