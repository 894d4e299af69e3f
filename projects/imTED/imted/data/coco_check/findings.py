"""What the check of a COCO json may find, and a json with what was found in it."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tabulate import tabulate

EXAMPLES = 5
"""How many images or annotations a finding names before it says "and N more"."""

# Each kind of finding: what it is, and after the semicolon how it is, or has been, fixed.
FATAL = {
    "id_text": "ids that are text; write them as integers, without quotes",
    "category_invalid": "categories without an integer id or a name; give each an integer id and "
    "a name",
    "category_repeated": "categories that repeat an id or a name; give each its own id and name",
    "category_mismatch": "categories that differ between train and val; write the same list into "
    "both files",
    "mask_mismatch": "masks in train but none in val; add masks to val or choose the config "
    "without masks",
    "image_invalid": "images without a file name or an integer id from 0 to 2^53; correct them in "
    "the json",
    "image_repeated": "image ids that repeat; give each image its own id",
    "file_repeated": "file names that repeat; merge the images into one entry",
    "image_missing": "missing image files; correct the image root or take these images out of the "
    "json",
    "image_unreadable": "unreadable image files; replace them or take these images out of the json",
    "image_depth": "image files of more than 8 bits a channel, of which all would be read as white "
    "or black; convert them to 8 bits",
    "image_scaled": "image files of another scale than their width and height in the json, whose "
    "boxes then are of that scale; resize the files, or correct width, height and annotations in "
    "the json",
    "image_rotated": "image files rotated by their EXIF tag, with a json that gives the size "
    "before rotation; save the images upright and without the tag, as the annotations see them",
    "boxes_normalised": "boxes within 0 to 1, as if they were parts of the image; multiply them by "
    "the image's width and height: COCO counts pixels",
    "boxes_xyxy": "boxes that leave the image as [x, y, width, height], where all are inside as "
    "[x1, y1, x2, y2]; write width and height instead of the second corner",
    "boxes_centred": "boxes whose x and y are their centre, as the masks tell; write the upper "
    "left corner, or take the boxes from the masks",
    "box_not_mask": "boxes that have nothing to do with their masks (IoU below 0.1), half of all "
    "or more; correct one of the two",
    "category_unknown": "annotations of a category that the json does not have; add the category "
    "or correct the annotations",
    "no_categories": "no categories; list the classes under 'categories'",
    "no_images": "no images; list the images under 'images'",
    "no_annotations": "no usable annotations that aren't crowds; list at least one under "
    "'annotations'",
}
"""What stops the training."""
DOUBTFUL = {
    "image_turned": "image files that their EXIF tag turns or mirrors without another size; "
    "Detectron2 shows the model the turned image: see that the annotations belong to that",
    "boxes_many_outside": "boxes that reach outside the image are a fifth of all or more; they are "
    "clipped: see that the boxes are of these images and of their scale",
    "crowd_many": "annotations marked iscrowd=1 are a tenth of all or more; they are regions of "
    "which nothing is learned: write 0 if each is an object (CVAT writes 1 for what was brushed)",
    "classes_unseen": "classes with objects in val and none in train; they can't be learned",
    "file_shared": "image files that are in train, too, under this name or another; an evaluation "
    "on them says little",
    "some_box_not_mask": "boxes that have nothing to do with their masks (IoU below 0.1); see "
    "which of the two is right",
}
"""What stays as it is; whether it is a fault, only the user can say."""
REPAIRED = {
    "category_number": "categories whose name is a number; read as text",
    "category_root": "categories without objects that are the supercategory of all others, as "
    "Roboflow exports one; dropped",
    "image_size_absent": "images without width or height; taken from the image files",
    "image_size_wrong": "images whose width and height are not the file's; the file's are used; "
    "boxes count in its pixels",
    "image_unknown": "annotations of an image that the json does not have; dropped",
    "box_invalid": "boxes that are not four finite numbers [x, y, width, height]; dropped",
    "box_absent": "annotations without a box of an area but with a mask; the mask's box is used",
    "box_empty": "boxes of no area; dropped",
    "box_off_image": "boxes entirely outside the image; dropped",
    "box_outside": "boxes that reach outside the image; clipped to the image",
    "annotation_duplicate": "annotations that state an object once more, of the same image, class, "
    "box and mask; the copies are dropped",
    "annotation_repeated": "annotation ids that repeat; renumbered",
    "annotation_id": "annotation ids that are not a positive integer (COCO's evaluation counts a "
    "detection matched to annotation 0 as wrong); renumbered",
    "annotation_ignored": "annotations marked 'ignore'; marked as crowd",
    "annotation_incomplete": "annotations whose 'area' is no number, or whose 'iscrowd' is neither "
    "0 nor 1; the box's area and 0 are used",
    "polygon_odd": "masks with a polygon of less than three points, without a pixel of the image, "
    "or with a point far from it; the polygon is dropped",
    "mask_unusable": "masks that are malformed, empty or not of the image's size; the mask is "
    "dropped",
    "mask_rare": "masks where most objects have none; dropped, and boxes alone are learned",
    "mask_absent": "annotations without a mask where others have one; dropped, since the model "
    "learns masks; a config without masks keeps their boxes",
}
"""What is repaired in a copy."""


def name_image(image: Mapping[str, Any]) -> str:
    """Name an image by its id and file."""
    return f"image {image.get('id')} ({image.get('file_name')})"


def name_annotation(entry: Mapping[str, Any], image: Mapping[str, Any] | None) -> str:
    """Name an annotation by its id and image."""
    of = name_image(image) if image else f"image {entry.get('image_id')}"
    return f"annotation {entry.get('id')} ({of})"


@dataclass
class CheckedJson:
    """A COCO json with what was found in it.

    Attributes:
        json_file: Its path.
        content: What is in it, after repair.
        image_root: Folder of the image files; "" where they were not looked at.
        split: "train" or "val".
        masks: Whether the model that asks learns masks.
        completed: Whether something was filled in that needs no word.
        findings: For each kind the images or annotations concerned, named by id and file.
    """

    json_file: str
    content: dict[str, Any]
    image_root: str = ""
    split: str = "train"
    masks: bool = False
    completed: bool = False
    findings: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, item: str) -> None:
        """Record that an image or annotation has a problem."""
        assert kind in FATAL or kind in DOUBTFUL or kind in REPAIRED
        self.findings.setdefault(kind, []).append(item)

    def sentences(self, kinds: Mapping[str, str]) -> list[str]:
        """Return what was found of some kinds, a sentence each, with names and count."""
        said = []
        for kind, items in ((kind, self.findings[kind]) for kind in kinds if kind in self.findings):
            what, _, fix = kinds[kind].partition("; ")
            more = f" and {len(items) - EXAMPLES} more" if len(items) > EXAMPLES else ""
            said.append(f"{what} ({len(items)}): {', '.join(items[:EXAMPLES])}{more}; {fix}")
        return said

    @property
    def fatal(self) -> list[str]:
        """A sentence for each kind of finding that forbids training, with the file's name."""
        return [f"{self.json_file}: {sentence}" for sentence in self.sentences(FATAL)]

    def annotated(self) -> Iterator[tuple[dict[str, Any], dict[str, Any] | None]]:
        """Yield each annotation and its image, None for one that the json doesn't have."""
        images = {image["id"]: image for image in self.content["images"]}
        for entry in self.content["annotations"]:
            key = entry.get("image_id")
            yield entry, images.get(key) if type(key) in (int, float) else None

    @property
    def has_masks(self) -> bool:
        """Whether any annotation has a usable mask, after the check: half of all or more."""
        return any(annotation.get("segmentation") for annotation in self.content["annotations"])

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
        ]
        for word, kinds in (("fatal", FATAL), ("warning", DOUBTFUL), ("repaired", REPAIRED)):
            lines += [f"  {word}: {sentence}." for sentence in self.sentences(kinds)]
        return "\n".join(lines if self.findings else [*lines, "  nothing to repair."])

    def _histogram(self) -> str:
        """Tabulate the number of instances of each class, crowds left out, three to a row."""
        entries = self.content["annotations"]
        counts = Counter(e.get("category_id") for e in entries if not e.get("iscrowd"))
        cells = []
        for category in self.content["categories"]:
            cells += [category.get("name"), counts[category.get("id")]]
        width = max(2, min(6, len(cells)))
        rows = [cells[start : start + width] for start in range(0, len(cells), width)]
        return tabulate(rows, headers=["category", "#instances"] * (width // 2), tablefmt="pipe")
