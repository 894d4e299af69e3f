"""Sizes of the COCO detectors against those of the released imTED models, in millions.

Pyramid and neck are left out: the released code has convolutions with BatchNorm and a neck of its
own, here it is ViTDet's SimpleFeaturePyramid. Everything else has the same architecture.
"""

import pytest
import torch
from detectron2.config import LazyConfig, instantiate
from paths import ROOT

# encoder (without its final norm, which is the head's), modulator, head with predictor, RPN
RELEASED = {
    "small": (21.66, 0.10, 3.41, 0.59),
    "base": (85.80, 0.20, 25.92, 0.59),
    "large": (303.30, 0.26, 26.05, 0.59),
}


def millions(*modules: torch.nn.Module) -> float:
    return round(sum(p.numel() for m in modules for p in m.parameters()) / 1e6, 2)


@pytest.mark.parametrize("meta_arch", ["faster", "mask"])
@pytest.mark.parametrize("size", RELEASED)
def test_parameters_of(meta_arch, size):
    path = ROOT / f"configs/coco/imted_{meta_arch}_rcnn_vit_{size}_3x.py"
    cfg = LazyConfig.load(str(path))
    with torch.device("meta"):
        model = instantiate(cfg.model)
    heads = model.roi_heads
    counts = (
        millions(model.backbone.net),
        millions(heads.box_pooler),
        millions(heads.box_head, heads.box_predictor),
        millions(model.proposal_generator),
    )
    assert counts == RELEASED[size]
    if meta_arch == "mask":  # four 3x3 convolutions, one transposed 2x2, one 1x1 to 80 classes
        assert millions(heads.mask_head) == round(
            (4 * (256 * 256 * 9 + 256) + 256 * 256 * 4 + 256 + 256 * 80 + 80) / 1e6, 2
        )
    else:
        assert not heads.mask_on


# All of a released detector, in millions.
TOTALS = {"faster": {"small": 30.30, "base": 122.74, "large": 346.21}, "mask": {"base": 125.39}}


@pytest.mark.parametrize(
    ("meta_arch", "size"), [(kind, size) for kind, sizes in TOTALS.items() for size in sizes]
)
def test_parameters_of_a_released_config(meta_arch, size):
    path = ROOT / f"configs/released/imted_{meta_arch}_rcnn_vit_{size}.py"
    with torch.device("meta"):
        model = instantiate(LazyConfig.load(str(path)).model)
    assert millions(model) == TOTALS[meta_arch][size]
