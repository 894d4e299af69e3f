"""Make tests/method/released_golden.json: figures that the imTED authors' own code computes.

    python tools/maintain/parity/golden_figures.py --authors authors \
        > tests/method/released_golden.json

`compare_with_released_imted.py` says how to get their code; the figures are those of its commit
3f5e927. The detector is their Mask R-CNN, made small. Its weights and its image come from NumPy's
frozen generator, so the test makes the same without their code.
"""

import argparse
import contextlib
import json
import sys
import tempfile
import zlib
from typing import Any

from imted.compat import silence

import numpy as np
import released_imted
import torch
from compare_with_released_imted import has_area
from PIL import Image

DEPTH, EARLY_BLOCK = 5, 4  # their pyramid reads the last of four blocks' maps
# x0, y0, x1, y1: pooled from p2, p3 and p4, and one without area.
BOXES = [
    [10.2, 5.1, 60.7, 44.9],
    [110.4, 30.3, 261.6, 190.8],
    [0.0, 0.0, 330.0, 215.0],
    [30.0, 20.0, 30.0, 20.0],
]
_FIRST = 12  # of the proposals and the detections: rounding could change the order further on
_DIM, _CHANNELS = 32, 12
_CHANGES: dict[str, dict[str, Any]] = {
    "backbone": dict(
        img_size=64, embed_dim=_DIM, depth=DEPTH, num_heads=2, out_indices=list(range(EARLY_BLOCK))
    ),
    "neck": dict(in_channels=[_DIM] * 4, out_channels=_CHANNELS),
    "rpn_head": dict(in_channels=_CHANNELS, feat_channels=_CHANNELS),
    "roi_head.bbox_roi_extractor.0": dict(out_channels=_DIM),
    "roi_head.bbox_roi_extractor.1": dict(out_channels=_DIM),
    "roi_head.mask_roi_extractor": dict(out_channels=_CHANNELS),
    "roi_head.bbox_head": dict(
        img_size=64, in_channels=_DIM, embed_dim=16, depth=2, num_heads=4, num_classes=3
    ),
    "roi_head.mask_head": dict(in_channels=_CHANNELS, conv_out_channels=_CHANNELS, num_classes=3),
}


def make_image() -> np.ndarray:
    """Return (215, 330, 3) of 8 bits, RGB; either code pads both of its sides."""
    return np.random.RandomState(0).randint(0, 256, (215, 330, 3)).astype(np.uint8)


def make_weight(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Return the float32 tensor of that name in a released file."""
    noise = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    return released_imted.spread(name, torch.from_numpy(noise)).float()


def summarize(record: dict[str, torch.Tensor]) -> dict[str, dict[str, list]]:
    """Return each stage's shape, its mean and root mean square, and some of its entries.

    Detections without area are left out, as Detectron2 does.
    """
    has = has_area(record["detections"])
    first = {name: record[name][has][:_FIRST] for name in ("detections", "pasted masks")}
    first["proposals"] = record["proposals"][:_FIRST]
    values = {**record, **first}
    for name in ("proposals", "detections"):
        rows = values.pop(name)
        values |= {f"{name}: boxes": rows[:, :4], f"{name}: scores and classes": rows[:, 4:]}
    stages = {}
    for name, value in values.items():
        flat = value.double().flatten()
        entries = flat[torch.linspace(0, len(flat) - 1, 24).long()]
        figures = [flat.mean(), flat.square().mean().sqrt(), *entries]
        figures = [float(f"{figure:.6g}") for figure in figures]
        stages[name] = {"shape": list(value.shape), "figures": figures}
    return stages


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--authors", required=True, help="a clone of github.com/LiewFeng/imTED")
    authors = parser.parse_args().authors
    silence()
    with contextlib.redirect_stdout(sys.stderr), tempfile.TemporaryDirectory() as folder:
        released_imted.install(authors)
        model, config = released_imted.build(
            authors,
            "imted_mask_rcnn_vit_small",
            {f"model.{part}.{k}": v for part, new in _CHANGES.items() for k, v in new.items()},
        )
        model.roi_head.mfm_fc = torch.nn.Conv2d(_CHANNELS, _DIM, 1)  # theirs takes 256 only
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                value.copy_(make_weight(name, value.shape))
        path = f"{folder}/image.png"
        Image.fromarray(make_image()).save(path)
        image, meta = released_imted.read_image(config, path, [215, 330])
        record = released_imted.infer(model, image, meta, EARLY_BLOCK, torch.tensor(BOXES))
    del record["boxes"]
    print(json.dumps(summarize(record)))


if __name__ == "__main__":
    main()
