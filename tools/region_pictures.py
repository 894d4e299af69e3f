#!/usr/bin/env python
"""Draw what the decoder makes of regions, small and large, with the modulator and without.

RUN is the folder of a pre-training by configs/pretrain/rois_vit_tiny.py.
"""

import argparse
import os
import sys

from imted.checkpoint import load_checkpoint
from imted.config.load import build, load_config
from imted.data.images import list_images
from imted.errors import UserError, exit_status
from imted.modeling import RegionReconstruction
from imted.run_folder import CONFIG, MAE
from imted.visualization.reconstruction import reconstruct_regions
from run_figures import save_sheet

import numpy as np
import torch
from detectron2.config import instantiate
from detectron2.structures import Boxes

COLUMNS = 10
"""Regions drawn, each of an image of its own."""


@exit_status
def main(argv: list[str] | None = None) -> None:
    """Draw the picture that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("run", metavar="RUN", help="the output folder of a pre-training that came to its end")
    add("--images", required=True, metavar="FOLDER", help="of images to take regions from")
    add("--output", required=True, metavar="FILE", help="the picture, a .png")
    add("--seed", type=int, default=0, metavar="SEED", help="of crops and boxes (%(default)s)")
    args = parser.parse_args(argv)
    cfg = load_config(os.path.join(args.run, CONFIG))
    model = build(cfg.model, "model").eval()
    if not isinstance(getattr(model, "roi_heads", None), RegionReconstruction):
        raise UserError(f"{args.run} has reconstructed no regions; name a run that has.")
    load_checkpoint(model, os.path.join(args.run, MAE))
    torch.manual_seed(args.seed)
    mapper, found = instantiate(cfg.dataloader.train.mapper), list_images(args.images)
    chosen = torch.randperm(len(found))[:COLUMNS].tolist()
    images = torch.stack([mapper(found[index])["image"] for index in chosen])
    low, high = cfg.model.proposal_generator.min_size, cfg.model.proposal_generator.max_size
    sides = np.geomspace(low, high, len(images)).tolist()
    boxes = [_centred(side, images.shape[-1]) for side in sides]
    rows = reconstruct_regions(model, images, boxes)
    save_sheet(
        [list(row.permute(0, 2, 3, 1).numpy()) for row in rows],
        args.output,
        title="Regions of images, and what the decoder draws of them: of the encoder's feature "
        "with the modulated pyramid, and of\nthe encoder's feature alone. Each prediction is shown "
        "with the region's own mean and deviation. Side in pixels: "
        + ", ".join(f"{side:.0f}" for side in sides),
        row_names=["region", "modulated", "encoder alone"],
    )
    print(args.output)


def _centred(side: float, image_side: int) -> Boxes:
    low, high = (image_side - side) / 2, (image_side + side) / 2
    return Boxes(torch.tensor([[low, low, high, high]]))


if __name__ == "__main__":
    sys.exit(main())
