"""Write synthetic scenes as a COCO data set: images and one json for each split."""

import multiprocessing
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from imted.atomic import read_json, write_json
from imted.errors import UserError
from synthetic.shapes import CLASS_NAMES, Instance, Scene, ShapesOptions, render_scene

GENERATOR = "imted.synthetic.shapes"  # a lasting name: with another, older folders are strangers
SPLITS = ("train", "val", "pretrain")  # the position seeds the split's random stream
JPEG_QUALITY = 95


def scene_at(seed: int, split: str, index: int, options: ShapesOptions) -> Scene:
    """Render image ``index`` (from 1) of a split; nothing else decides its content."""
    return render_scene(np.random.default_rng([seed, SPLITS.index(split), index]), options)


def check_split(
    output: Path, split: str, num_images: int, seed: int, options: ShapesOptions
) -> None:
    """Raise a UserError if the values are wrong or the folder holds something else."""
    if num_images < 1:
        raise UserError(f"the number of {split} images is {num_images}; give a positive number.")
    if seed < 0:
        raise UserError(f"seed is {seed}; give a number that is not negative.")
    fix = "give another --output or remove that one"
    annotations, folder = output / f"{split}.json", output / split
    if annotations.exists():
        if _written_info(annotations) != _info(split, num_images, seed, options):
            raise UserError(f"{annotations} was written with other options; {fix}.")
    elif folder.exists():
        # Images without a json are what an interrupted run leaves: they are written again.
        strangers = {path.name for path in folder.iterdir()} - {
            _file_name(index) for index in range(1, num_images + 1)
        }
        if strangers:
            raise UserError(
                f"{folder} holds {min(strangers)}, which these options don't write; {fix}."
            )


def write_split(
    output: Path, split: str, num_images: int, seed: int, options: ShapesOptions, workers: int = 1
) -> Path:
    """Write ``<output>/<split>/*.jpg``, then ``<output>/<split>.json``; return the json's path.

    The json is removed first and written last, so that it never names a missing image. Writing
    over the output of the same options gives the same files.

    Raises:
        UserError: A value is out of range, or the folder was written with other options.
    """
    check_split(output, split, num_images, seed, options)
    if workers < 1:
        raise UserError(f"workers is {workers}; give at least 1.")
    annotations = output / f"{split}.json"
    (output / split).mkdir(parents=True, exist_ok=True)
    annotations.unlink(missing_ok=True)

    write = partial(_write_image, folder=output / split, seed=seed, options=options)
    records: list[dict[str, Any]] = []
    for image_id, objects in enumerate(_map(write, range(1, num_images + 1), workers), 1):
        for record in objects:
            records.append({"id": len(records) + 1, "image_id": image_id, **record})
    side = options.image_size
    content = {
        "info": _info(split, num_images, seed, options),
        "licenses": [],
        "images": [
            {"id": index, "file_name": _file_name(index), "width": side, "height": side}
            for index in range(1, num_images + 1)
        ],
        "annotations": records,
        "categories": [
            {"id": number, "name": name, "supercategory": "shape"}
            for number, name in enumerate(CLASS_NAMES, 1)
        ],
    }
    write_json(content, annotations)
    return annotations


def annotation(instance: Instance) -> dict[str, Any]:
    """Describe an instance as a COCO annotation, without its ids.

    Beyond COCO's fields: ``occlusion_ratio`` (hidden fraction of the shape inside the image),
    ``visible_parts`` (8-connected components of the visible mask) and ``full_bbox`` (XYWH box of
    the shape inside the image, hidden part included).
    """
    visible = instance.visible.view(np.uint8)
    segmentation = coco_mask.encode(np.asfortranarray(visible))
    segmentation["counts"] = segmentation["counts"].decode("ascii")
    return {
        "category_id": instance.category + 1,
        "iscrowd": int(instance.crowd),
        "segmentation": segmentation,
        "bbox": list(cv2.boundingRect(visible)),
        "area": int(np.count_nonzero(visible)),
        "occlusion_ratio": round(instance.occlusion_ratio, 6),
        "visible_parts": instance.visible_parts,
        "full_bbox": list(cv2.boundingRect(instance.full.view(np.uint8))),
    }


def encode_jpeg(image: np.ndarray) -> bytes:
    """Encode an RGB image, uint8 (H, W, 3)."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return encoded.tobytes()


def _write_image(
    index: int, folder: Path, seed: int, options: ShapesOptions
) -> list[dict[str, Any]]:
    scene = scene_at(seed, folder.name, index, options)
    (folder / _file_name(index)).write_bytes(encode_jpeg(scene.image))
    return [annotation(instance) for instance in scene.instances]


def _map(write: partial, indices: range, workers: int) -> Iterator[list[dict[str, Any]]]:
    if workers == 1:
        yield from map(write, indices)
        return
    # Spawned, not forked: the caller may hold threads (OpenCV, PyTorch) that a fork would break.
    context = multiprocessing.get_context("spawn")
    with context.Pool(workers, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        yield from pool.imap(write, indices, chunksize=16)


def _file_name(index: int) -> str:
    return f"{index:06d}.jpg"


def _info(split: str, num_images: int, seed: int, options: ShapesOptions) -> dict[str, Any]:
    return {
        "description": "Synthetic shapes with exact truth",
        "generator": GENERATOR,
        "split": split,
        "num_images": num_images,
        "seed": seed,
        "options": asdict(options),
    }


def _written_info(annotations: Path) -> Any:
    try:
        return read_json(annotations).get("info")
    except (UserError, AttributeError):
        return None
