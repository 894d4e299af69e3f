"""Run command lines on many cases, each in a process of its own."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "projects/imTED"), str(ROOT / "tools/maintain")]

from prepared import Command  # noqa: E402

CONFIG = "configs/custom/imted_mask_rcnn_vit_tiny.py"
PATIENCE = 90
"""Seconds after which a case is taken to hang."""
SMALL = [
    *("train.max_iter=1", "train.eval_period=0", "train.init_checkpoint=''", "train.device=cpu"),
    *("dataloader.train.num_workers=0", "dataloader.test.num_workers=0"),
    "dataloader.train.total_batch_size=1",
    # Images of their own size, and no closer look at them.
    *("train.validation_loss=false", "train.validation_images=0"),
    "dataloader.train.mapper.augmentations.1.short_edge_length=[64]",
    "dataloader.test.mapper.augmentations.0.short_edge_length=64",
]

REFUSED, WARNED, REPAIRED, FINE, ANY = "refused", "warned", "repaired", "fine", "no trace"


@dataclass(frozen=True)
class Case:
    """Something to be tried.

    Attributes:
        name: What it is.
        words: The words of the command line.
        build: Changes the folder of the data first.
        mentions: What the sentence must have, so that the case is refused for what it is.
        verdict: REFUSED by one sentence, WARNED of or REPAIRED as the console says, FINE, or ANY.
        script: Whose command line it is; one that isn't train_net.py gets `words` alone.
        keeps: Files of the folder that must be as they were.
    """

    name: str
    words: tuple[str, ...] = ()
    build: Callable[[Path], None] = lambda folder: None
    verdict: str = ANY
    mentions: str = ""
    script: str = "train_net.py"
    keeps: tuple[str, ...] = ()


def make_data(folder: Path) -> None:
    """Write a data set of three classes, boxes and masks; six images to train on and six held out.

    Its json is of `content`.
    """
    generator = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    for split in ("train", "val"):
        for number in range(6):
            pixels = generator.integers(0, 255, (64, 96, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "images" / f"{split}{number}.png")
        (folder / f"{split}.json").write_text(json.dumps(content(split)))


def content(split: str) -> dict:
    """Return a good json; annotations are rectangles with a mask of the same form."""
    annotations = []
    for number in range(12):
        x, y, w, h = 4 + 5 * number, 3 + 2 * number, 24 + number, 20 + number
        annotations.append(
            {
                "id": number + 1,
                "image_id": number // 2 + 1,
                "category_id": number % 3 + 1,
                "bbox": [x, y, min(w, 95 - x), min(h, 63 - y)],
                "segmentation": [[x, y, x + 20, y, x + 20, y + 18, x, y + 18]],
                "area": 360,
                "iscrowd": 0,
            }
        )
    for entry in annotations:
        x, y, w, h = entry["bbox"]
        entry["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
        entry["area"] = w * h
    return {
        "images": [
            {"id": i + 1, "file_name": f"{split}{i}.png", "width": 96, "height": 64}
            for i in range(6)
        ],
        "categories": [{"id": i + 1, "name": name} for i, name in enumerate(("a", "b", "c"))],
        "annotations": annotations,
    }


def play(cases: Iterable[Case], base: Path, jobs: int) -> Iterator[tuple[str, str, str]]:
    """Yield case, what was seen, and the verdict."""
    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(lambda case: _play(*case, base), enumerate(cases))


def _play(number: int, case: Case, base: Path) -> tuple[str, str, str]:
    folder = base / f"case{number:04d}"
    make_data(folder)
    case.build(folder)
    words = case.words
    if case.script == "train_net.py":
        options = [word for word in words if word.startswith("--")]
        keys = [word for word in words if word not in options]
        words = (*options, *training_words("{folder}"), *keys)
    before = [(folder / name).read_bytes() for name in case.keeps]
    status, out, err = run(case.script, words, folder)
    seen = _describe(status, out, err).replace("|", "/").replace(str(folder), "")
    good = seen.partition(":")[0] in (
        (case.verdict,) if case.verdict != ANY else (REFUSED, WARNED, REPAIRED, FINE)
    )
    kept = before == [_content(folder / name) for name in case.keeps]
    good = good and case.mentions in seen and kept
    return case.name, seen, "good" if good else "BAD"


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def training_words(folder: str) -> tuple[str, ...]:
    """Return the words that train for one iteration on a folder's data."""
    paths = [
        f"dataset.{split}_{what}={folder}/{name}"
        for split in ("train", "val")
        for what, name in (("json", f"{split}.json"), ("images", "images"))
    ]
    return ("--config-file", CONFIG, *paths, *SMALL, f"train.output_dir={folder}/run")


def run(script: str, words: Iterable[str], folder: Path) -> tuple[int | None, str, str]:
    """Run a command line in a process of its own.

    Args:
        script: Its path in the repository.
        words: In which `{folder}` stands for the folder.
        folder: What that is.

    Returns:
        Its status, None if it hangs, and what it wrote.
    """
    command = Command([script, *(word.replace("{folder}", str(folder)) for word in words)])
    try:
        out, err = command.communicate(PATIENCE)
    except subprocess.TimeoutExpired:
        command.kill_all()
        return None, "", ""
    return command.returncode, out, err


def _describe(status: int | None, out: str, err: str) -> str:
    if status is None:
        return "hang"
    if "Traceback" in err or "Traceback" in out:
        return f"trace: {err.strip().splitlines()[-1][:160]}" if err.strip() else "trace"
    if status:
        errors = re.findall(r"^(?:\S+: )?error: (.+)$", err, re.MULTILINE)
        if len(errors) == 1:
            return f"{REFUSED}: {errors[0][:200]}"
        return f"status {status}: {err.strip()[-160:]}"
    warnings = re.findall(r"^WARNING: (.+)$", out, re.MULTILINE)
    if warnings:
        return f"{WARNED}: {warnings[0][:160]}"
    repairs = re.findall(r"^ +repaired: (.+)$", out, re.MULTILINE)
    return f"{REPAIRED}: {repairs[0][:400]}" if repairs else FINE
