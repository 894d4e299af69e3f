"""Models of a few thousand parameters, made from the configs that users start from."""

from pathlib import Path

import pytest
import torch
from detectron2.config import LazyConfig, instantiate

from imted.modeling import MAEEncoder, MaskedAutoencoder, ReconstructionDecoder

ROOT = Path(__file__).resolve().parents[1]
ENCODER = dict(embed_dim=32, depth=3, num_heads=2, pretrain_img_size=64)
DECODER = dict(dim=16, depth=2, num_heads=4, grid_size=4)


@pytest.fixture
def small_detector_config():
    """Return the model's config: the tiny detector, made smaller still."""

    def config(rung: str = "imted", masks: bool = False, num_classes: int = 3):
        name = "mask" if masks else "faster"
        path = ROOT / f"configs/common/models/imted_{name}_rcnn_tiny.py"
        cfg = LazyConfig.load(str(path)).model
        cfg.backbone.net.update(ENCODER)
        cfg.backbone.out_channels = 12
        cfg.roi_heads.decoder.update(DECODER)
        cfg.roi_heads.rung = rung
        cfg.roi_heads.num_classes = num_classes
        return cfg

    return config


@pytest.fixture
def small_detector(small_detector_config):
    """Build a GeneralizedRCNN, the same for the same seed."""

    def build(rung: str = "imted", masks: bool = False, num_classes: int = 3, seed: int = 0):
        torch.manual_seed(seed)
        return instantiate(small_detector_config(rung, masks, num_classes))

    return build


@pytest.fixture
def small_mae():
    """Build a masked autoencoder of the small detector's sizes."""

    def build(seed: int = 0, encoder: dict | None = None, decoder: dict | None = None, **kwargs):
        torch.manual_seed(seed)
        encoder = {**ENCODER, **(encoder or {})}
        return MaskedAutoencoder(
            encoder=MAEEncoder(**encoder),
            decoder=ReconstructionDecoder(
                encoder_dim=encoder["embed_dim"], **{**DECODER, **(decoder or {})}
            ),
            pixel_mean=[120.0, 110.0, 100.0],
            pixel_std=[50.0, 60.0, 70.0],
            **kwargs,
        )

    return build


@pytest.fixture
def randomize():
    """Give every parameter a random value, so that no zero hides what it does; in float64."""

    def apply(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
        generator = torch.Generator().manual_seed(seed)
        module = module.double()
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.normal_(std=0.3, generator=generator)
        return module.eval()

    return apply
