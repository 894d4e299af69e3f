"""What an evaluation can add to its metrics: losses on the test set, and pictures."""

import copy
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from detectron2.data import DatasetMapper, MetadataCatalog, build_detection_test_loader
from detectron2.evaluation import inference_context
from detectron2.utils import comm
from detectron2.utils.events import EventStorage, get_event_storage
from omegaconf import DictConfig
from PIL import Image
from torch import nn

from imted.config.load import build
from imted.config.resolve import Run
from imted.data.pixels import read_pixels
from imted.errors import UserError
from imted.training.stopping import stop_between_batches
from imted.visualization.drawing import draw_annotations, draw_instances

logger = logging.getLogger(__name__)

LONG_SIDE = 1200
"""Most pixels of a picture's longer side."""
SCORE = 0.5
"""Least score of what is drawn."""


def check_validation(cfg: DictConfig) -> None:
    """Refuse, before a training, a test set that has not what its settings need.

    Raises:
        UserError: It has no annotations, or no name in Detectron2's catalogs, which know the
            classes.
    """
    dataset = cfg.dataloader.test.dataset
    records = build(dataset, "dataloader.test.dataset")
    # Samples of another kind than Detectron2's are between the model and its mapper.
    if any("file_name" in record and "annotations" not in record for record in records):
        raise UserError(
            "train.validation_loss and train.validation_images need annotations, and "
            "dataloader.test has images without; switch both off."
        )
    masks = cfg.train.validation_loss and cfg.dataloader.train.mapper.get("use_instance_mask")
    if masks and not all(
        "segmentation" in annotation or annotation.get("iscrowd")
        for record in records
        for annotation in record.get("annotations", ())
    ):
        raise UserError(
            "train.validation_loss needs a mask for every annotation, as the training does, and "
            "dataloader.test has some without; set train.validation_loss=false."
        )
    if cfg.train.validation_images and dataset.get("names") is None:
        raise UserError(
            "train.validation_images needs a test set by name (dataloader.test.dataset.names); "
            "set train.validation_images=0."
        )


def look_closer(run: Run, model: nn.Module) -> dict[str, Any]:
    """Do what the config wants beside an evaluation: compute and log losses, draw pictures.

    All processes must call this.

    Args:
        run: The run.
        model: The model itself, not its DDP wrapper.

    Returns:
        `{"validation": {"total_loss": ...}}`, or nothing.
    """
    train, test = run.cfg.train, run.cfg.dataloader.get("test")
    if test is None or not (train.validation_loss or train.validation_images):
        return {}
    records = build(test.dataset, "dataloader.test.dataset")
    if train.validation_images and comm.is_main_process():
        _draw_images(run, model, records)
    if not train.validation_loss:
        return {}
    losses = validation_losses(run, model, records)
    # Written as the training's are.
    parts = "  ".join(f"{name}: {value:.4g}" for name, value in losses.items())
    logger.info("Validation: %s", parts)
    return {"validation": losses}


@torch.no_grad()
def validation_losses(
    run: Run, model: nn.Module, records: Sequence[dict[str, Any]]
) -> dict[str, float]:
    """Compute the training losses on the test set, without augmentation, dropout or drop path.

    What is drawn at random (RoIs) follows from the seed; the training reseeds its own generators
    before each step, and so goes on as without this.

    Args:
        run: The run.
        model: The model itself, not its DDP wrapper.
        records: The test set.

    Returns:
        The mean over images of each loss, and of their sum as "total_loss"; the same on all
        processes.

    Raises:
        Stopped: A signal has asked for it.
    """
    loader = build_detection_test_loader(
        records,
        mapper=_annotated_mapper(run.cfg),
        batch_size=run.cfg.dataloader.test.get("batch_size", 1),
        num_workers=run.cfg.dataloader.test.get("num_workers", 0),
    )
    sums: Counter[str] = Counter()
    stop = stop_between_batches(len(loader))
    with _losses_alone(model), run.autocast(), EventStorage():  # what the model logs goes nowhere
        for batch in loader:
            stop()
            torch.manual_seed(run.cfg.train.seed)  # whatever the loader or another batch has drawn
            for name, loss in model(batch).items():
                sums[name] += loss.item() * len(batch)
            sums[""] += len(batch)
    total: Counter[str] = Counter()
    for part in comm.all_gather(sums):
        total.update(part)
    images = total.pop("")
    means = {name: value / images for name, value in total.items()}
    return {"total_loss": sum(means.values()), **means}


def _draw_images(run: Run, model: nn.Module, records: Sequence[dict[str, Any]]) -> None:
    """Put test images, evenly spaced, into TensorBoard: the truth, predictions to its right."""
    test = run.cfg.dataloader.test
    mapper = build(test.mapper, "dataloader.test.mapper")
    names = test.dataset.names
    metadata = MetadataCatalog.get(names if isinstance(names, str) else names[0])
    number = min(run.cfg.train.validation_images, len(records))
    for record in (records[i * len(records) // number] for i in range(number)):
        with inference_context(model), torch.no_grad(), run.autocast():
            found = model([mapper(copy.deepcopy(record))])[0]["instances"].to("cpu")
        pixels = read_pixels(record["file_name"], "RGB")
        kept = found[found.scores >= SCORE]
        pair = [draw_annotations(record, metadata), draw_instances(pixels, kept, metadata)]
        picture = Image.fromarray(np.concatenate(pair, axis=1))
        picture.thumbnail((LONG_SIDE, LONG_SIDE))
        name = f"validation/{record['image_id']}"
        get_event_storage().put_image(name, torch.from_numpy(np.array(picture)).permute(2, 0, 1))


def _annotated_mapper(cfg: DictConfig) -> Any:
    """Return the test set's mapper, which leaves annotations out, so that it keeps them.

    A mapper of another kind than Detectron2's is taken as it is.
    """
    mapper = build(cfg.dataloader.test.mapper, "dataloader.test.mapper")
    train = build(cfg.dataloader.train.mapper, "dataloader.train.mapper")
    if isinstance(mapper, DatasetMapper) and isinstance(train, DatasetMapper):
        mapper.is_train = True
        for name in ("use_instance_mask", "use_keypoint", "keypoint_hflip_indices"):
            setattr(mapper, name, getattr(train, name))
        mapper.instance_mask_format = "bitmask"  # polygons and RLE, whichever val has
    return mapper


@contextmanager
def _losses_alone(model: nn.Module) -> Iterator[None]:
    """Let a model compute losses, with its layers as in evaluation.

    Containers such as the RPN decide by their mode whether they compute losses; modules without
    parts (dropout, drop path, batch norm), whether they act at random or keep statistics.
    """
    modes = {module: module.training for module in model.modules()}
    for module in modes:
        module.training = any(True for _ in module.children())
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
