"""Users' files with a random fault each, for the commands that read and convert them."""

import json
import os
import random
import re
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from cases import ANY, Case
from PIL import Image

CONVERT = "datasets/prepare_coco_json.py"
OUT = ("--output", "{folder}/out")
COMMANDS = {
    "yolo": (CONVERT, ("yolo", "{folder}/source/data.yaml", *OUT)),
    "voc": (CONVERT, ("voc", "{folder}/source", *OUT)),
    "labelme": (CONVERT, ("labelme", "{folder}/source", *OUT)),
    "split": (CONVERT, ("coco_split", "{folder}/source/all.json", *OUT)),
    "analysis": (
        "tools/analyze_results.py",
        ("--json", "{folder}/source/all.json", "--predictions", "{folder}/source/found.json",
         "--images", "{folder}/source", *OUT, "--num-images", "1"),
    ),
    "drawing": (
        "tools/visualize_data.py",
        ("--source", "annotation", "--json", "{folder}/source/all.json",
         "--images", "{folder}/source", "--output-dir", "{folder}/out", "--num", "2"),
    ),
}  # fmt: skip
"""The script and the words that read what `write` writes."""
NUMBERS = ("nan", "inf", "-1", "0", "1e400", "1e9", "2.5", str(2**70), '"7"', "null", "true", "[]")
WORDS = ("", "null", "[]", "{}", "7", "\u00fc\U0001f600", "a" * 300, "../..", "x\ty", "\\ud800")


def cases(number: int, seed: int) -> Iterator[Case]:
    """Yield so many of each command; the same seed gives the same."""
    for kind, (script, words) in COMMANDS.items():
        for count in range(number):
            name = f"{kind} {seed}.{count}"
            yield Case(name, words, partial(_build, kind, name), ANY, script=script)


def _build(kind: str, name: str, folder: Path) -> None:
    generator = random.Random(name)
    source = folder / "source"
    write(kind, source)
    for _ in range(generator.choice((1, 1, 2))):
        files = sorted(path for path in source.rglob("*") if path.is_file())
        texts = [path for path in files if path.suffix != ".jpg"]
        if texts:
            path = generator.choice(texts if generator.random() < 0.85 else files)
            generator.choice(FAULTS)(path, generator)


def write(kind: str, source: Path) -> None:
    """Write two images with an object each in the format that a command reads."""
    images = source / "JPEGImages" if kind == "voc" else source
    images = source / "images" if kind == "yolo" else images
    images.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8)
    for name in ("a", "b"):
        Image.fromarray(pixels).save(images / f"{name}.jpg")
        if kind == "yolo":
            _text(source / f"labels/{name}.txt", "0 0.5 0.5 0.25 0.25\n1 0.1 0.1 0.4 0.1 0.4 0.5\n")
        elif kind == "voc":
            box = "<xmin>5</xmin><ymin>6</ymin><xmax>50</xmax><ymax>40</ymax>"
            _text(
                source / f"Annotations/{name}.xml",
                f"<annotation><filename>{name}.jpg</filename><size><width>96</width>"
                f"<height>64</height></size><object><name>cat</name><bndbox>{box}</bndbox>"
                "</object></annotation>",
            )
        elif kind == "labelme":
            points = [[5.0, 6.0], [50.0, 6.0], [50.0, 40.0]]
            shape = {"label": "cat", "points": points, "shape_type": "polygon", "group_id": None}
            content = {"imagePath": f"{name}.jpg", "imageWidth": 96, "imageHeight": 64}
            _text(source / f"{name}.json", json.dumps({**content, "shapes": [shape]}))
    if kind == "yolo":
        _text(source / "data.yaml", "path: .\ntrain: images\nval: images\nnames: [cat, dog]\n")
    elif kind == "voc":
        _text(source / "ImageSets/Main/train.txt", "a\n")
        _text(source / "ImageSets/Main/val.txt", "b\n")
    elif kind != "labelme":
        entries = [
            {"id": i, "image_id": i, "category_id": 1, "bbox": [5, 6, 40, 30], "iscrowd": 0,
             "segmentation": [[5, 6, 45, 6, 45, 36, 5, 36]], "area": 1200}
            for i in (1, 2)
        ]  # fmt: skip
        names = enumerate(("a.jpg", "b.jpg"), start=1)
        content = {
            "images": [{"id": i, "file_name": n, "width": 96, "height": 64} for i, n in names],
            "annotations": entries,
            "categories": [{"id": 1, "name": "cat"}],
        }
        _text(source / "all.json", json.dumps(content))
        found = [{**{k: e[k] for k in ("image_id", "category_id", "bbox")}, "score": 0.5}
                 for e in entries]  # fmt: skip
        _text(source / "found.json", json.dumps(found))


def _text(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(text)


def _cut(path: Path, generator: random.Random) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: generator.randrange(len(data) + 1)])


def _noise(path: Path, generator: random.Random) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(generator.choice((1, 3, 20))):
        if data:
            data[generator.randrange(len(data))] = generator.randrange(256)
    path.write_bytes(data)


def _replace(pattern: str, values: tuple[str, ...], path: Path, generator: random.Random) -> None:
    """Put another value in the place of one that a pattern finds."""
    text = path.read_text(errors="replace")
    found = list(re.finditer(pattern, text))
    if found:
        at = generator.choice(found)
        text = text[: at.start()] + generator.choice(values) + text[at.end() :]
        path.write_text(text, errors="replace")


def _encode(path: Path, generator: random.Random) -> None:
    text = path.read_text(errors="replace").replace("cat", "Kätzchen")
    encoding = generator.choice(("utf-8-sig", "utf-16", "utf-32", "latin-1", "cp1252"))
    path.write_bytes(text.encode(encoding, errors="replace"))


def _double(path: Path, generator: random.Random) -> None:
    lines = path.read_text(errors="replace").splitlines(keepends=True)
    path.write_text("".join(lines * generator.choice((2, 50))))


def _remove(path: Path, generator: random.Random) -> None:
    """Let it be gone, a folder, a link to itself or a pipe."""
    path.unlink()
    kind = generator.randrange(4)
    if kind == 1:
        path.mkdir()
    elif kind == 2:
        path.symlink_to(path.name)
    elif kind == 3:
        os.mkfifo(path)


def _exchange(path: Path, generator: random.Random) -> None:
    """Let it have the content of another file beside it."""
    others = [other for other in path.parent.iterdir() if other.is_file() and other != path]
    if others:
        shutil.copy(generator.choice(sorted(others)), path)


FAULTS: tuple[Callable[[Path, random.Random], None], ...] = (
    _cut,
    _noise,
    partial(_replace, r"-?\d+(\.\d+)?", NUMBERS),
    partial(_replace, r"-?\d+(\.\d+)?", NUMBERS),
    partial(_replace, r"[A-Za-z_]+", WORDS),
    partial(_replace, r"\[[^\[\]]*\]", NUMBERS),
    _encode,
    _double,
    _remove,
    _exchange,
)
