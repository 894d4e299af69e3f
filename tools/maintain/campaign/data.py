"""Data sets that are wrong in one way each, and some that are only unusual."""

import functools
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pycocotools.mask as mask_util
from cases import ANY, FINE, REFUSED, REPAIRED, WARNED, Case
from PIL import Image

VALUES = (None, "1", "word", [], {}, -1, 0, 1e9, float("nan"), float("inf"), True, 2**70)
FIELDS = {
    "images": ("id", "file_name", "width", "height"),
    "categories": ("id", "name"),
    "annotations": ("id", "image_id", "category_id", "bbox", "segmentation", "area", "iscrowd"),
}
FORMATS = ("png", "jpg", "bmp", "tif", "gif", "webp", "ppm")


def edit(folder: Path, change: Callable[[dict], Any], splits: tuple[str, ...] = ("train",)) -> None:
    """Change the json of a split."""
    for split in splits:
        path = folder / f"{split}.json"
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))


def _everywhere(change: Callable[[dict], Any]) -> Callable[[Path], None]:
    """Change each annotation of both splits."""

    def build(folder: Path) -> None:
        def all_of(content: dict) -> None:
            for entry in content["annotations"]:
                change(entry)

        edit(folder, all_of, ("train", "val"))

    return build


def _set(section: str, field: str, value: Any, folder: Path) -> None:
    edit(folder, lambda content: content[section][0].update({field: value}))


def _drop(section: str, field: str, folder: Path) -> None:
    edit(folder, lambda content: content[section][0].pop(field))


def _image(write: Callable[[Path], None], suffix: str, folder: Path) -> None:
    """Let the first image to train on be another file."""
    write(folder / "images" / f"new.{suffix}")
    _set("images", "file_name", f"new.{suffix}", folder)


def _noise(mode: str = "RGB") -> Image.Image:
    pixels = np.random.default_rng(1).integers(0, 255, (64, 96, 3), dtype=np.uint8)
    if mode in ("I;16", "F"):
        return Image.fromarray(pixels[:, :, 0].astype(np.uint16 if mode == "I;16" else np.float32))
    return Image.fromarray(pixels).convert(mode)


def _save(mode: str, path: Path) -> None:
    _noise(mode).save(path)


def _half(path: Path) -> None:
    _noise().save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _turned(orientation: int, path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    _noise().save(path, exif=exif)


def _to_corners(entry: dict) -> None:
    x, y, w, h = entry["bbox"]
    entry["bbox"] = [x, y, x + w, y + h]


def _to_parts(entry: dict) -> None:
    x, y, w, h = entry["bbox"]
    entry["bbox"] = [x / 96, y / 64, w / 96, h / 64]


def _off_mask(entry: dict) -> None:
    entry["segmentation"] = [[0, 0, 2, 0, 2, 2, 0, 2]]


def _text_ids(entry: dict) -> None:
    entry["image_id"] = str(entry["image_id"])


def _write(text: bytes, folder: Path) -> None:
    (folder / "train.json").write_bytes(text)


def _share(change: Callable[[dict], Any], number: int, folder: Path) -> None:
    """Change so many annotations of each split."""

    def some(content: dict) -> None:
        for entry in content["annotations"][:number]:
            change(entry)

    edit(folder, some, ("train", "val"))


def _again(number: int, folder: Path) -> None:
    """State so many objects once more."""

    def add(content: dict) -> None:
        entries = content["annotations"]
        entries += [{**e, "id": e["id"] + 100} for e in entries[:number]]

    edit(folder, add)


def _to_centre(entry: dict) -> None:
    x, y, w, h = entry["bbox"]
    entry["bbox"] = [x + w / 2, y + h / 2, w, h]


def _root(folder: Path) -> None:
    """Add Roboflow's category for all others."""

    def add(content: dict) -> None:
        for category in content["categories"]:
            category["supercategory"] = "things"
        content["categories"].insert(0, {"id": 0, "name": "things", "supercategory": "none"})

    edit(folder, add, ("train", "val"))


def _unseen(folder: Path) -> None:
    def leave(content: dict) -> None:
        entries = content["annotations"]
        content["annotations"] = [e for e in entries if e["category_id"] != 2]

    edit(folder, leave)


def _shared(name: str, folder: Path) -> None:
    """Let an image of val be one of train."""
    if name != "train0.png":
        shutil.copy(folder / "images/train0.png", folder / "images" / name)
    edit(folder, lambda content: content["images"][0].update(file_name=name), ("val",))


def _torn(part: float, progressive: bool, path: Path) -> None:
    _noise().save(path, progressive=progressive)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)] + b"\xff\xd9")


def _short_rle(folder: Path) -> None:
    def cut(content: dict) -> None:
        mask = np.zeros((64, 96), np.uint8, order="F")
        mask[5:20:3, 5:50] = 1
        rle = mask_util.encode(mask)
        half = rle["counts"].decode()[:-20]
        content["annotations"][0]["segmentation"] = {"size": [64, 96], "counts": half}

    edit(folder, cut)


def losses() -> Iterator[Case]:
    """Yield what costs objects or meaning, in several amounts; each is to be said."""
    partial = functools.partial
    for number in range(2, 12):
        crowds = partial(_share, lambda entry: entry.update(iscrowd=1), number)
        yield Case(f"{number} of 12 are crowds", (), crowds, WARNED, "iscrowd=1")
    for number in (1, 6, 12):
        yield Case(f"{number} stated twice", (), partial(_again, number), REPAIRED, "once more")
    for number in (1, 5, 12):
        boxless = partial(_share, lambda entry: entry.pop("bbox"), number)
        yield Case(f"{number} without a box", (), boxless, REPAIRED, "the mask's box")
    for number in (1, 5):
        maskless = partial(_share, lambda entry: entry.pop("segmentation"), number)
        yield Case(f"{number} without a mask", (), maskless, REPAIRED, "without a mask")
    maskless = partial(_share, lambda entry: entry.pop("segmentation"), 11)
    yield Case("11 without a mask", (), maskless, REPAIRED, "masks where most")
    yield Case("boxes by their centre", (), _everywhere(_to_centre), REFUSED, "centre")
    yield Case("a root of the categories", (), _root, REPAIRED, "supercategory")
    yield Case("a class of val alone", (), _unseen, WARNED, "none in train")
    for name in ("train0.png", "other.png"):
        yield Case(f"train's image in val as {name}", (), partial(_shared, name), WARNED, "train")
    for part in (0.3, 0.6, 0.9):
        for progressive in (False, True):
            image = partial(_image, partial(_torn, part, progressive), "jpg")
            name = f"{part} of a {'progressive ' * progressive}jpg, and its end"
            yield Case(name, (), image, REFUSED, "new.jpg")
    yield Case("an RLE that ends early", (), _short_rle, REPAIRED, "malformed")


def cases() -> Iterator[Case]:
    """Yield them all."""
    partial = functools.partial
    yield from losses()
    for section, fields in FIELDS.items():
        for field in fields:
            yield Case(f"{section}: no {field}", build=partial(_drop, section, field))
            for value in VALUES:
                name = f"{section}: {field}={value!r}"
                yield Case(name, build=partial(_set, section, field, value), verdict=ANY)
    for mode, suffix in (("I;16", "png"), ("F", "tif"), ("I;16", "tif")):
        image = partial(_image, partial(_save, mode), suffix)
        yield Case(f"pixels {mode} {suffix}", (), image, REFUSED, "8 bits")
    for mode in ("1", "L", "P", "RGBA", "LA"):
        yield Case(f"pixels {mode}", (), partial(_image, partial(_save, mode), "png"), FINE)
    for suffix in FORMATS:
        yield Case(f"half a {suffix}", (), partial(_image, _half, suffix), REFUSED, "new.")
        whole = partial(_image, partial(_save, "RGB"), suffix)
        yield Case(f"a {suffix}", (), whole, FINE)
    for kind, content in (("empty", b""), ("html", b"<html></html>"), ("zeros", bytes(100))):
        write = partial(lambda data, path: path.write_bytes(data), content)
        yield Case(f"image: {kind}", (), partial(_image, write, "png"), REFUSED, "new.png")
    for orientation in (2, 3, 4):
        turned = partial(_image, partial(_turned, orientation), "jpg")
        yield Case(f"EXIF {orientation}", (), turned, WARNED, "EXIF")
    for orientation in (5, 6, 7, 8):
        turned = partial(_image, partial(_turned, orientation), "jpg")
        yield Case(f"EXIF {orientation}", (), turned, REFUSED, "EXIF")
    yield Case("boxes as corners", (), _everywhere(_to_corners), REFUSED, "x2")
    yield Case("boxes of 0 to 1", (), _everywhere(_to_parts), REFUSED, "0 to 1")
    yield Case("masks elsewhere", (), _everywhere(_off_mask), REFUSED, "masks")
    yield Case("image ids as text", (), _everywhere(_text_ids), REFUSED, "text")
    yield Case("no iscrowd", (), _everywhere(lambda entry: entry.pop("iscrowd")), FINE)
    for name, content in {
        "brackets": b"[" * 100_000,
        "empty": b"",
        "binary": bytes(range(256)),
        "a list": b"[]",
        "null": b"null",
        "UTF-16": json.dumps({"images": []}).encode("utf-16"),
    }.items():
        yield Case(f"json: {name}", (), partial(_write, content), REFUSED, "train.json")
    for key, section in (("name", "categories"), ("file_name", "images")):
        half = partial(_set, section, key, "a\ud800")
        yield Case(f"half a character in {key}", (), half, REFUSED, key.split("_")[-1])
