"""What the check of a COCO data set found, as text, and the repaired json it leaves behind."""

import os
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tabulate import tabulate

from imted.atomic import write_json

EXAMPLES = 5
"""How many images or annotations a finding names before it says "and N more"."""


class Problem(NamedTuple):
    """One kind of problem: whether it stops training, what it is, and how it is fixed.

    One with `warn` stays as it is; whether it is a fault, only the user can say.
    """

    fatal: bool
    what: str
    fix: str
    warn: bool = False


PROBLEMS = {
    "category_invalid": Problem(
        True, "categories without an integer id or a name", "give each an integer id and a name"
    ),
    "category_number": Problem(False, "categories whose name is a number", "read as text"),
    "category_repeated": Problem(
        True, "categories that repeat an id or a name", "give each its own id and name"
    ),
    "category_mismatch": Problem(
        True, "categories that differ between train and val", "write the same list into both files"
    ),
    "mask_mismatch": Problem(
        True,
        "masks in train but none in val",
        "add masks to val or choose the config without masks",
    ),
    "image_invalid": Problem(
        True, "images without an integer id or a file name", "correct them in the json"
    ),
    "image_repeated": Problem(True, "image ids that repeat", "give each image its own id"),
    "file_repeated": Problem(True, "file names that repeat", "merge the images into one entry"),
    "image_missing": Problem(
        True,
        "missing image files",
        "correct the image root or take these images out of the json",
    ),
    "image_unreadable": Problem(
        True, "unreadable image files", "replace them or take these images out of the json"
    ),
    "image_depth": Problem(
        True,
        "image files of more than 8 bits a channel, of which all would be read as white or black",
        "convert them to 8 bits",
    ),
    "image_turned": Problem(
        False,
        "image files that their EXIF tag turns or mirrors without another size",
        "Detectron2 shows the model the turned image: see that the annotations belong to that",
        warn=True,
    ),
    "image_scaled": Problem(
        True,
        "image files of another scale than their width and height in the json, whose boxes then "
        "are of that scale",
        "resize the files, or correct width, height and annotations in the json",
    ),
    "id_text": Problem(True, "ids that are text", "write them as integers, without quotes"),
    "boxes_normalised": Problem(
        True,
        "boxes within 0 to 1, as if they were parts of the image",
        "multiply them by the image's width and height: COCO counts pixels",
    ),
    "boxes_xyxy": Problem(
        True,
        "boxes that leave the image as [x, y, width, height], where all are inside as "
        "[x1, y1, x2, y2]",
        "write width and height instead of the second corner",
    ),
    "boxes_many_outside": Problem(
        False,
        "boxes that reach outside the image are a fifth of all or more",
        "they are clipped: see that the boxes are of these images and of their scale",
        warn=True,
    ),
    "box_not_mask": Problem(
        True,
        "boxes that have nothing to do with their masks (IoU below 0.1), half of all or more",
        "correct one of the two",
    ),
    "some_box_not_mask": Problem(
        False,
        "boxes that have nothing to do with their masks (IoU below 0.1)",
        "see which of the two is right",
        warn=True,
    ),
    "image_rotated": Problem(
        True,
        "image files rotated by their EXIF tag, with a json that gives the size before rotation",
        "save the images upright and without the tag, as the annotations see them",
    ),
    "image_size_absent": Problem(
        False, "images without width or height", "taken from the image files"
    ),
    "image_size_wrong": Problem(
        False,
        "images whose width and height are not the file's",
        "the file's are used; boxes count in its pixels",
    ),
    "image_unknown": Problem(
        False, "annotations of an image that the json does not have", "dropped"
    ),
    "category_unknown": Problem(
        True,
        "annotations of a category that the json does not have",
        "add the category or correct the annotations",
    ),
    "box_invalid": Problem(
        False, "boxes that are not four finite numbers [x, y, width, height]", "dropped"
    ),
    "box_empty": Problem(False, "boxes of no area", "dropped"),
    "box_off_image": Problem(False, "boxes entirely outside the image", "dropped"),
    "box_outside": Problem(False, "boxes that reach outside the image", "clipped to the image"),
    "annotation_repeated": Problem(False, "annotation ids that repeat", "renumbered"),
    "annotation_id": Problem(
        False,
        "annotation ids that are not a positive integer (COCO's evaluation counts a detection "
        "matched to annotation 0 as wrong)",
        "renumbered",
    ),
    "annotation_ignored": Problem(False, "annotations marked 'ignore'", "marked as crowd"),
    "annotation_incomplete": Problem(
        False,
        "annotations whose 'area' is no number, or whose 'iscrowd' is neither 0 nor 1",
        "the box's area and 0 are used",
    ),
    "polygon_odd": Problem(
        False,
        "masks with a polygon of less than three points or without a pixel of the image",
        "the polygon is dropped",
    ),
    "mask_unusable": Problem(
        False,
        "masks that are malformed, empty or not of the image's size",
        "the mask is dropped",
    ),
    "mask_absent": Problem(
        False,
        "annotations without a mask where others have one",
        "dropped, since the model learns masks; a config without masks keeps their boxes",
    ),
    "no_categories": Problem(True, "no categories", "list the classes under 'categories'"),
    "no_images": Problem(True, "no images", "list the images under 'images'"),
    "no_annotations": Problem(
        True,
        "no usable annotations that aren't crowds",
        "list at least one under 'annotations'",
    ),
}


@dataclass
class CheckedDataset:
    """One json file with what was found in it.

    Attributes:
        split: "train" or "val".
        json_file: Path of the COCO json.
        image_root: Folder of the image files.
        content: The json's content after repair.
        masks: Whether the model that asks learns masks.
        completed: Whether something was filled in that needs no word.
        findings: For each kind (a key of `PROBLEMS`) the images or annotations concerned.
    """

    split: str
    json_file: str
    image_root: str
    content: dict[str, Any]
    masks: bool
    findings: dict[str, list[str]] = field(default_factory=dict)
    completed: bool = False

    def add(self, kind: str, item: str) -> None:
        """Record that `item`, an image or annotation named by id and file, has this problem."""
        self.findings.setdefault(kind, []).append(item)

    @property
    def has_masks(self) -> bool:
        """Whether any annotation has a usable mask."""
        return any(annotation.get("segmentation") for annotation in self.content["annotations"])

    @property
    def categories(self) -> list[dict[str, Any]]:
        """The categories by ascending id: Detectron2 numbers the classes in this order."""
        return sorted(self.content["categories"], key=lambda category: category["id"])

    def lines(self, fatal: bool, warn: bool = False) -> list[str]:
        """Return one sentence for each kind of finding that is fatal, repaired, or a warning."""
        lines = []
        for kind, problem in PROBLEMS.items():
            if (problem.fatal, problem.warn) == (fatal, warn) and (
                items := self.findings.get(kind)
            ):
                named = ", ".join(items[:EXAMPLES])
                more = f" and {len(items) - EXAMPLES} more" if len(items) > EXAMPLES else ""
                lines.append(f"{problem.what} ({len(items)}): {named}{more}; {problem.fix}")
        return lines

    @property
    def num_empty(self) -> int:
        """How many images have no annotation."""
        annotated = {entry.get("image_id") for entry in self.content["annotations"]}
        return len(self.content["images"]) - len(annotated)

    def __str__(self) -> str:
        images, annotations = self.content["images"], self.content["annotations"]
        crowd = sum(bool(annotation.get("iscrowd")) for annotation in annotations)
        with_mask = sum(bool(annotation.get("segmentation")) for annotation in annotations)
        lines = [
            f"{self.split}: {self.json_file}, images in {self.image_root}",
            f"  {len(images)} images ({self.num_empty} without annotations), "
            f"{len(annotations)} annotations ({crowd} crowd, {with_mask} with a mask), "
            f"{len(self.content['categories'])} classes",
            self._histogram(),
            *(f"  fatal: {line}." for line in self.lines(fatal=True)),
            *(f"  warning: {line}." for line in self.lines(fatal=False, warn=True)),
            *(f"  repaired: {line}." for line in self.lines(fatal=False)),
        ]
        return "\n".join(lines if self.findings else [*lines, "  nothing to repair."])

    def _histogram(self) -> str:
        """Tabulate the number of instances of each class, crowds left out, three to a row."""
        counts = Counter(
            annotation.get("category_id")
            for annotation in self.content["annotations"]
            if not annotation.get("iscrowd")
        )
        cells = []
        for category in self.content["categories"]:
            cells += [category.get("name"), counts[category.get("id")]]
        width = max(2, min(6, len(cells)))
        rows = [cells[start : start + width] for start in range(0, len(cells), width)]
        return tabulate(rows, headers=["category", "#instances"] * (width // 2), tablefmt="pipe")


@dataclass
class Report:
    """The one report over all json files of a check; `str()` gives its text."""

    datasets: list[CheckedDataset]

    @property
    def fatal(self) -> list[str]:
        """One sentence for each kind of finding that forbids training."""
        return [
            f"{dataset.json_file}: {line}"
            for dataset in self.datasets
            for line in dataset.lines(fatal=True)
        ]

    def __str__(self) -> str:
        return "\n".join(str(dataset) for dataset in self.datasets)


def write_repaired(report: Report, output_dir: str) -> list[str]:
    """Write the repaired copy of every json that needed repair; the originals stay untouched.

    Args:
        report: A report without fatal findings.
        output_dir: The run's folder; copies go to `datasets/{train,val}.json` in it.

    Returns:
        The json to read for each data set of the report: the copy, or the original where
        nothing needed repair.
    """
    paths = []
    for dataset in report.datasets:
        path = dataset.json_file
        if dataset.findings or dataset.completed:
            path = os.path.join(output_dir, "datasets", f"{dataset.split}.json")
            write_json(dataset.content, path)
        paths.append(path)
    return paths
