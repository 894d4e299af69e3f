"""Detection in many images: one picture each, and one json of all results."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.utils import comm
from tqdm import tqdm

from imted.errors import UserError
from imted.outputs import write_json, write_picture
from imted.predict import Detections, Predictor
from imted.visualization.drawing import draw_instances

from .video import ESCAPE, show

RESULTS = "predictions.json"
"""COCO's results format, with the "file_name" of each image."""


@dataclass
class Outcome:
    """The detections in many images, as COCO has them; how many were read, how many couldn't be."""

    results: list[dict[str, Any]] = field(default_factory=list)
    done: int = 0
    failed: int = 0
    ended: str = ""  # why before the last image


def predict_files(
    build: Callable[[], Predictor],
    pictures: Mapping[Path, Path],
    ids: Mapping[Path, int],
    output: str,
) -> None:
    """Detect in images and write a picture of each and `predictions.json`.

    The processes of a distributed run share the images. A file that can't be read is one line,
    and the others go on.

    Args:
        build: Makes this process's predictor.
        pictures: Where the picture of each image goes.
        ids: The id of each image.
        output: The folder of `predictions.json`.

    Raises:
        UserError: When the json is written: some files could not be read, or something has ended
            it before the last, as Ctrl-C or a full disk.
    """
    rank, processes = comm.get_rank(), comm.get_world_size()
    mine = dict(list(pictures.items())[rank::processes])
    predictor, outcome = build(), Outcome()
    try:
        _predict(predictor, mine, ids, outcome)
    except KeyboardInterrupt:
        outcome.ended = "Interrupted"
        if processes > 1:
            raise
    except UserError as error:
        outcome.ended = str(error)
    outcomes = comm.gather(outcome)
    if rank:
        return
    results = [result for part in outcomes for result in part.results]
    order = {number: place for place, number in enumerate(ids.values())}
    results.sort(key=lambda result: order[result["image_id"]])  # stable: by score within an image
    path = os.path.join(output, RESULTS)
    write_json(results, path)
    done, failed = (sum(getattr(o, name) for o in outcomes) for name in ("done", "failed"))
    print(f"{len(results)} detections in {done} images: {path}, and a picture of each beside it")
    for outcome in outcomes:
        if outcome.ended:
            raise UserError(f"{outcome.ended.rstrip('.')}, after {done} of {len(pictures)} images.")
    if failed:
        raise UserError(f"{failed} of {len(pictures)} files could not be read; see above.")


def _predict(
    predictor: Predictor, pictures: Mapping[Path, Path], ids: Mapping[Path, int], outcome: Outcome
) -> None:
    silent = comm.get_rank() > 0 or len(pictures) < 2
    for file, target in tqdm(pictures.items(), unit="image", disable=silent):
        try:
            pixels = predictor.read(file)
        except UserError as error:
            tqdm.write(f"left out: {error}", file=sys.stderr)
            outcome.failed += 1
            continue
        detections, picture = _draw(predictor, pixels)
        write_picture(picture, target, quality=95)
        outcome.results += [{**r, "file_name": str(file)} for r in detections.to_coco(ids[file])]
        outcome.done += 1


def show_files(predictor: Predictor, files: Sequence[Path]) -> None:
    """Show what is found in each image in a window, until a key is pressed; Escape ends it.

    Raises:
        UserError: A file can't be read, or OpenCV has no windows.
    """
    for file in files:
        _, picture = _draw(predictor, predictor.read(file))
        if show(np.ascontiguousarray(picture[:, :, ::-1]), "--input", wait=0) == ESCAPE:
            return


def _draw(predictor: Predictor, pixels: np.ndarray) -> tuple[Detections, np.ndarray]:
    """Detect in pixels as `Predictor.read` returns them; return the picture, too, in RGB."""
    bgr = pixels if predictor.description.input_format == "BGR" else pixels[:, :, ::-1]
    detections = predictor(bgr)
    return detections, draw_instances(bgr[:, :, ::-1], detections, predictor.metadata)
