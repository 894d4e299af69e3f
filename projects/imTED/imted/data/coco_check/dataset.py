"""A user's data set, four paths in a config: it checks, repairs and registers itself."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from detectron2.data import DatasetCatalog, MetadataCatalog

from imted.data.coco_check.check import check_dataset, check_pair
from imted.data.coco_check.report import CheckedDataset, Report, write_repaired
from imted.data.coco_json import read_coco, register_coco_json
from imted.errors import UserError
from imted.processes import on_main_process

logger = logging.getLogger(__name__)

TRAIN_NAME = "custom_train"
"""The name under which `dataset.train_json` is registered."""
VAL_NAME = "custom_val"
"""The name under which `dataset.val_json` is registered."""
NAMES = {"train": TRAIN_NAME, "val": VAL_NAME}


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
    """

    json_file: str
    image_root: str
    classes: dict[int, str]
    has_masks: bool
    has_rle: bool
    counts: str
    repairs: tuple[str, ...]
    warnings: tuple[str, ...] = ()


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
        self._require_paths(splits)
        found = on_main_process(lambda: self._check(splits))
        self.register_checked(found)
        return found

    def register_checked(self, found: Mapping[str, Split]) -> None:
        """Register what :meth:`check` has found, in this process or in another."""
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

    def count_classes(self) -> int:
        """Count the categories of the json that decides: train's, or val's where it is alone.

        Raises:
            UserError: Neither is given, or the json can't be read.
        """
        split = "train" if self.paths["train"][0] else "val"
        self._require_paths([split])
        return len(read_coco(self.paths[split][0])["categories"])

    def _key(self, split: str) -> tuple:
        return (*self.paths[split], self.masks, self.output_dir)

    def _require_paths(self, splits: tuple[str, ...] | list[str]) -> None:
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
        reports: list[Report] = []
        masks = self.masks
        for split in splits:
            reports.append(check_dataset(*self.paths[split], split, masks))
            masks = masks and reports[0].datasets[0].has_masks
        report = check_pair(*reports) if len(reports) == 2 else reports[0]
        if report.fatal:
            logger.error("Check of the data set:\n%s", report)
            raise UserError("The data set has fatal problems. " + "; ".join(report.fatal) + ".")
        logger.debug("Check of the data set:\n%s", report)
        return summarize(report, self.output_dir)


def count_classes(dataset: CocoDataset) -> int:
    """Count the classes of a config's data set; for `num_classes` that follows from it."""
    return dataset.count_classes()


def summarize(report: Report, output_dir: str) -> dict[str, Split]:
    """Write repaired copies and return what to register, by split.

    Args:
        report: A report without fatal findings.
        output_dir: The run's folder, see :func:`imted.data.coco_check.report.write_repaired`.
    """
    splits = {}
    for data, path in zip(report.datasets, write_repaired(report, output_dir), strict=True):
        splits[data.split] = Split(
            json_file=path,
            image_root=data.image_root,
            classes={category["id"]: category["name"] for category in data.categories},
            has_masks=data.has_masks,
            has_rle=any(
                isinstance(annotation.get("segmentation"), dict) and not annotation["iscrowd"]
                for annotation in data.content["annotations"]
            ),
            counts=_counts(data),
            repairs=tuple(data.lines(fatal=False)),
            warnings=tuple(data.lines(fatal=False, warn=True)),
        )
    return splits


def _counts(data: CheckedDataset) -> str:
    images, annotations = data.content["images"], data.content["annotations"]
    without = f" ({data.num_empty} without annotations)" if data.num_empty else ""
    return f"{len(images)} images{without}, {len(annotations)} annotations"
