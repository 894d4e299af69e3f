"""The door to data: what a user's json holds, what of it is learned, and any data set by name.

json            read_coco       its content, checked and repaired as far as no image is needed
json + images   CocoDataset     checked, repaired in a copy, registered with Detectron2
names           dataset_dicts   what is registered, as Detectron2's dicts for a loader
"""

import difflib
import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog, get_detection_dataset_dicts
from detectron2.utils.file_io import PathManager

from imted.data.coco_check.check import check_dataset, check_pair
from imted.data.coco_check.findings import DOUBTFUL, REPAIRED, CheckedJson
from imted.data.coco_json import SECTIONS, categories_of, load_coco, register_coco_json
from imted.data.shared_records import load_once
from imted.errors import UserError
from imted.outputs import write_json
from imted.processes import on_main_process
from imted.run_folder import REPAIRED as REPAIRED_JSON

logger = logging.getLogger(__name__)

NAMES = {"train": "custom_train", "val": "custom_val"}
"""What the parts of a config's own data set are called in Detectron2's catalogs."""


@dataclass(frozen=True)
class Split:
    """What the processes need to know of a checked json.

    Attributes:
        json_file: The json to read, the repaired copy if there is one.
        image_root: Folder of the image files.
        classes: Name of each category by its id in the json, ids ascending.
        has_masks: Whether any annotation has a mask.
        has_rle: Whether an instance's mask is run-length encoded (crowd regions aside).
        counts: "2000 images (80 without annotations), 4862 annotations".
        repairs: A sentence for each kind of problem that was repaired.
        warnings: One for each kind that may be a fault.
        most: Objects in the image that has the most.
        empty: Images without annotations.
    """

    json_file: str
    image_root: str
    classes: dict[int, str]
    has_masks: bool
    has_rle: bool
    counts: str
    repairs: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    most: int = 0
    empty: int = 0


def read_coco(json_file: str, *sections: str) -> dict[str, Any]:
    """Read a COCO json as the training would, as far as its images aren't needed for that.

    What is repaired, and what may be a fault, is said in a warning each.

    Args:
        json_file: A local path or any iopath URL.
        *sections: What is needed of "images", "annotations" and "categories"; all by default.

    Returns:
        The repaired content; the file stays as it is.

    Raises:
        UserError: There is no such file, it is no COCO json, or the check finds something fatal.
    """
    data = check_dataset(json_file, None, sections=sections or SECTIONS)
    if data.fatal:
        raise UserError("; ".join(data.fatal) + ".")
    for sentence in data.sentences(DOUBTFUL):
        logger.warning("%s: %s.", json_file, sentence)
    for sentence in data.sentences(REPAIRED):
        logger.warning("%s: repaired: %s.", json_file, sentence)
    return data.content


class CocoDataset:
    """Train and val in COCO format, registered as "custom_train" and "custom_val".

    A config states it as a LazyCall; whatever loads one of the two names first lets it check and
    repair the json, and register the result.
    """

    def __init__(
        self,
        *,
        train_json: str = "",
        train_images: str = "",
        val_json: str = "",
        val_images: str = "",
        masks: bool = False,
        output_dir: str = "./output",
    ) -> None:
        """Keep the paths; nothing is read yet.

        Args:
            train_json: Annotations to train on; empty where there is only an evaluation.
            train_images: The folder that its file names start from.
            val_json: Held-out annotations.
            val_images: Their folder.
            masks: Whether the model learns masks.
            output_dir: Folder of the run; repaired copies go to `datasets/` in it.
        """
        self.paths = {"train": (train_json, train_images), "val": (val_json, val_images)}
        self.masks = masks
        self.output_dir = output_dir

    def check(self, *splits: str) -> dict[str, Split]:
        """Check json files and images, write repaired copies, and register what is to be read.

        The report is logged. All processes of a distributed run must call this: one reads the
        images and writes, the others wait for what it found.

        Args:
            *splits: "train", "val" or both, which must then belong together.

        Raises:
            UserError: A path is not given, or the check finds something fatal.
        """
        self.require_paths(*splits)
        found = on_main_process(lambda: self._check(splits))
        self.register_checked(found)
        return found

    def register_checked(self, found: Mapping[str, Split]) -> None:
        """Register what `check` has found, in this process or in another."""
        for split, facts in found.items():
            register_coco_json(NAMES[split], facts.json_file, facts.image_root, facts.classes)
            MetadataCatalog.get(NAMES[split]).set(checked=self._key(split))

    def register(self, name: str) -> None:
        """Register a split by its name in the catalog, unless this data set already has.

        Args:
            name: "custom_train" or "custom_val"; the former is checked together with val.
        """
        split = next((split for split, known in NAMES.items() if known == name), None)
        if split is None:
            raise UserError(
                f"No data set of the config's `dataset` has the name {name!r}; it has "
                f"{' and '.join(NAMES.values())}."
            )
        known = name in DatasetCatalog.list()
        if known and MetadataCatalog.get(name).get("checked") == self._key(split):
            return
        pair = split == "train" and self.paths["val"][0]
        self.check(*(("train", "val") if pair else (split,)))

    def _key(self, split: str) -> tuple:
        return (*self.paths[split], self.masks, self.output_dir)

    def require_paths(self, *splits: str) -> None:
        """Raise a `UserError` unless the paths of some splits are given."""
        absent = [
            f"dataset.{split}_{what}"
            for split in splits
            for what, path in zip(("json", "images"), self.paths[split], strict=True)
            if not path
        ]
        if absent:
            verb = "is" if len(absent) == 1 else "are"
            example = " ".join(f"{key}=PATH" for key in absent)
            raise UserError(
                f"{', '.join(absent)} {verb} not given; add {example} to the command line."
            )

    def _check(self, splits: tuple[str, ...]) -> dict[str, Split]:
        """Check and repair."""
        checked: list[CheckedJson] = []
        masks = self.masks
        for split in splits:
            checked.append(check_dataset(*self.paths[split], split, masks))
            masks = masks and checked[0].has_masks
        if len(checked) == 2:
            check_pair(*checked)
        fatal = [sentence for data in checked for sentence in data.fatal]
        report = "Check of the data set:\n" + "\n".join(map(str, checked))
        logger.log(logging.ERROR if fatal else logging.DEBUG, report)
        if fatal:
            raise UserError("The data set has fatal problems. " + "; ".join(fatal) + ".")
        return {data.split: write_repaired(data, self.output_dir) for data in checked}


def count_classes(dataset: CocoDataset) -> int:
    """Count the categories of the json that decides: train's, or val's where it is alone.

    Raises:
        UserError: Neither is given, or the json can't be read.
    """
    split = "train" if dataset.paths["train"][0] else "val"
    dataset.require_paths(split)
    return len(load_coco(dataset.paths[split][0])["categories"])


def write_repaired(data: CheckedJson, output_dir: str) -> Split:
    """Write the repaired copy of a json that needed repair; the original stays untouched.

    Args:
        data: A json without fatal findings.
        output_dir: The run's folder; the copy goes to `datasets/{train,val}.json` in it.

    Returns:
        What is to be read: the copy, or the original where nothing needed repair.
    """
    path, entries = data.json_file, data.content["annotations"]
    if data.findings or data.completed:
        path = os.path.join(output_dir, REPAIRED_JSON.format(split=data.split))
        write_json(data.content, path, inputs=[data.json_file])
    num_empty = data.num_empty  # which goes through all annotations
    empty = f" ({num_empty} without annotations)" if num_empty else ""
    return Split(
        json_file=path,
        image_root=data.image_root,
        classes=categories_of(data.content),
        has_masks=data.has_masks,
        has_rle=any(isinstance(e.get("segmentation"), dict) and not e["iscrowd"] for e in entries),
        counts=f"{len(data.content['images'])} images{empty}, {len(entries)} annotations",
        repairs=tuple(data.sentences(REPAIRED)),
        warnings=tuple(data.sentences(DOUBTFUL)),
        most=max(Counter(e["image_id"] for e in entries if not e["iscrowd"]).values(), default=0),
        empty=num_empty,
    )


def datasets_root() -> Path:
    """Return the folder of all data: DETECTRON2_DATASETS, `datasets` by default."""
    return Path(os.environ.get("DETECTRON2_DATASETS", "datasets"))


def dataset_dicts(
    names: str | Sequence[str], filter_empty: bool = True, source: CocoDataset | None = None
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
    keys = ("thing_classes", "thing_dataset_id_to_contiguous_id")

    def read() -> list[dict]:
        all_facts = [MetadataCatalog.get(name).as_dict() for name in names]
        return [{key: facts[key] for key in keys if key in facts} for facts in all_facts]

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
