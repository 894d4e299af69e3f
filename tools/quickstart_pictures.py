#!/usr/bin/env python
"""Draw what a finished run has learned: predictions, reconstructions, losses, the modulator.

The pictures go to RUN/pictures. Their paths are printed, then the AP50 of the evaluation.
"""

import argparse
import math
import os
import sys
from typing import Any

from imted.checkpoint import read_state_dict
from imted.config.dataset import complete_from_dataset
from imted.config.load import load_config
from imted.errors import UserError, exit_status
from imted.modeling import MaskedAutoencoder
from imted.run_folder import (
    CONFIG,
    FINAL,
    METRICS,
    PREDICTIONS,
    RESULTS,
    read_metrics,
    read_results,
)
from imted.visualization.drawing import draw_predictions, load_predictions
from imted.visualization.reconstruction import load_mae, reconstruct
from run_figures import save_losses, save_modulator, save_sheet

import torch
from detectron2.config import instantiate
from detectron2.data import MetadataCatalog, detection_utils
from omegaconf import DictConfig
from PIL import Image
from torchvision.transforms import v2

SCALE = "roi_heads.box_pooler.scale"
FILES = (CONFIG, METRICS, FINAL, RESULTS, PREDICTIONS)
NUM_PREDICTIONS = 8
NUM_RECONSTRUCTIONS = 6
SCORE = 0.5
"""Predictions below it are not drawn."""
SIDE = 300
"""Pixels of an image's longer side in the sheet of predictions."""

Records = list[dict[str, Any]]  # images in Detectron2's dataset format


def draw_prediction_sheet(cfg: DictConfig, records: Records, path: str) -> None:
    """Draw held-out images with their annotations beside what the detector found."""
    names = cfg.dataloader.test.dataset.names
    metadata = MetadataCatalog.get(names if isinstance(names, str) else names[0])
    predictions = load_predictions(os.path.join(cfg.train.output_dir, PREDICTIONS))
    chosen = choose(records, NUM_PREDICTIONS)
    pictures = [
        draw_predictions(record, predictions.get(record["image_id"], []), metadata, SCORE, SIDE)
        for record in chosen
    ]
    save_sheet(
        [pictures[i : i + 2] for i in range(0, len(pictures), 2)],
        path,
        title=f"{len(chosen)} of {len(records)} held-out images, in even steps: annotations at "
        f"the left, predictions with a score of at least {SCORE:.0%} at the right",
    )


def draw_reconstructions(cfg: DictConfig, records: Records, path: str) -> None:
    """Draw what the masked autoencoder that the detector came from makes of held-out images."""
    mae = load_mae(cfg.model, cfg.train.init_checkpoint)
    images = read_images(choose(records, NUM_RECONSTRUCTIONS), mae)
    rows = (images, *reconstruct(mae, images, seed=cfg.train.seed))
    save_sheet(
        [list(row.permute(0, 2, 3, 1).numpy()) for row in rows],
        path,
        title="What the masked autoencoder makes of held-out images. It predicts patches "
        "normalised (norm_pix_loss):\neach hidden patch is shown with the image's own mean and "
        "standard deviation there.",
        row_names=["image", f"{mae.mask_ratio:.0%} hidden", "predicted"],
    )


def draw_modulator(run: str, path: str) -> None:
    """Draw the modulator's scale in the trained weights."""
    weights = read_state_dict(os.path.join(run, FINAL))
    if SCALE not in weights:
        raise UserError("this variant has no modulator.")
    save_modulator(weights[SCALE].numpy(), path)


def choose(records: Records, number: int) -> Records:
    """Choose some images in even steps, or all if there are not so many."""
    number = min(number, len(records))
    return [records[i * len(records) // number] for i in range(number)]


def read_images(records: Records, mae: MaskedAutoencoder) -> torch.Tensor:
    """Read images, (N, 3, S, S) uint8, resized and cropped to the size of pre-training."""
    side = mae.encoder.patch_size * math.isqrt(mae.encoder.pos_embed.shape[1])
    fit = v2.Compose([v2.Resize(side), v2.CenterCrop(side), v2.PILToTensor()])
    arrays = [detection_utils.read_image(record["file_name"], "RGB") for record in records]
    return torch.stack([fit(Image.fromarray(array)) for array in arrays])


def summarize(run: str) -> list[str]:
    """Return a line per task of a run's results."""
    results = read_results(run)
    lines = []
    for task, name in (("bbox", "box"), ("segm", "mask")):
        ap50 = results.get(task, {}).get("AP50")
        if ap50 is not None:
            lines.append(f"{name} AP50 {ap50:.1f}")
    return lines


def load_run(run: str) -> tuple[DictConfig, Records]:
    """Check that a run is finished; return its config and its held-out images."""
    if not os.path.isdir(run):
        raise UserError(f"there is no run folder {run}; train first (train_net.py, make demo).")
    missing = [name for name in FILES if not os.path.isfile(os.path.join(run, name))]
    if missing:
        raise UserError(f"{run} has no {', '.join(missing)}; a training that came to its end has.")
    cfg = load_config(os.path.join(run, CONFIG))
    cfg.train.output_dir = run  # it may have been moved
    complete_from_dataset(cfg, training=False)
    return cfg, instantiate(cfg.dataloader.test.dataset)


@exit_status
def main(argv: list[str] | None = None) -> None:
    """Draw the pictures of the run that the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", help="the output folder of a training that came to its end")
    run = parser.parse_args(argv).run
    cfg, records = load_run(run)
    history = read_metrics(run)
    if not history:
        raise UserError(f"{os.path.join(run, METRICS)} is not readable as lines of JSON.")
    summary = summarize(run)
    os.makedirs(f"{run}/pictures", exist_ok=True)
    paths = {
        name: os.path.join(run, "pictures", f"{name}.png")
        for name in ("predictions", "reconstructions", "losses", "modulator")
    }
    draw_prediction_sheet(cfg, records, paths["predictions"])
    save_losses(history, paths["losses"])
    optional = {
        "reconstructions": lambda path: draw_reconstructions(cfg, records, path),
        "modulator": lambda path: draw_modulator(run, path),
    }
    for name, draw in optional.items():
        try:
            draw(paths[name])
        except UserError as error:  # the run came of no MAE, or its variant has no modulator
            print(f"No {name}.png: {error}")
            del paths[name]
    print("\n".join([*paths.values(), *summary]))


if __name__ == "__main__":
    sys.exit(main())
