"""Commands that are to write where a user's file is, or over what they read."""

import functools
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from cases import FINE, REFUSED, Case
from files import COMMANDS, write

WRITTEN = {
    "yolo": ("train.json", "val.json"),
    "voc": ("train.json", "val.json"),
    "labelme": ("all.json",),
    "split": ("train.json", "val.json"),
    "analysis": ("report.html", "analysis.json", "f1.png", "worst_01.jpg"),
    "drawing": ("1_a.png", "2_b.png"),
}
"""What each command writes into its folder."""


def cases() -> Iterator[Case]:
    """Yield them all."""
    for kind, names in WRITTEN.items():
        script, words = COMMANDS[kind]
        for name in names:
            build = functools.partial(_mine, kind, name)
            yield Case(f"{kind}: {name} is another's", words, build, REFUSED, "is there already",
                       script, (f"out/{name}",))  # fmt: skip
        yield Case(f"{kind}: into a new folder", words, functools.partial(_fresh, kind), FINE,
                   script=script)  # fmt: skip
    script = "datasets/prepare_coco_json.py"
    words = ("coco_split", "{folder}/out/train.json", "--output", "{folder}/out")
    yield Case("split: its input", words, _split, REFUSED, "", script, ("out/train.json",))
    for name in ("config.yaml", "results.json", "metrics.json", "datasets/train.json"):
        build = functools.partial(_project, name)
        yield Case(f"train: a project's {name}", (), build, REFUSED, "holds no run",
                   keeps=(f"run/{name}",))  # fmt: skip


def _fresh(kind: str, folder: Path) -> None:
    write(kind, folder / "source")
    if kind == "analysis":  # something is to be drawn
        path = folder / "source/found.json"
        found = json.loads(path.read_text())
        found[0]["bbox"] = [0, 0, 9, 9]
        path.write_text(json.dumps(found))


def _mine(kind: str, name: str, folder: Path) -> None:
    _fresh(kind, folder)
    (folder / "out").mkdir()
    (folder / "out" / name).write_text("mine")


def _split(folder: Path) -> None:
    write("split", folder / "source")
    (folder / "out").mkdir()
    shutil.copy(folder / "source/all.json", folder / "out/train.json")


def _project(name: str, folder: Path) -> None:
    path = folder / "run" / name
    path.parent.mkdir(parents=True)
    path.write_text("mine")
