"""imTED's modules: from encoder and decoder to detectors and MAE."""

from .decoder import DecoderBoxHead, MAEDecoder, ReconstructionDecoder
from .encoder import MAEEncoder
from .masked_autoencoder import MaskedAutoencoder
from .modulated_pooler import ModulatedPooler
from .pyramid import EncoderPyramid, ReleasedPyramid
from .roi_heads import VARIANTS, ImTEDROIHeads
from .windowed_encoder import WindowedEncoder

__all__ = [
    "VARIANTS",
    "DecoderBoxHead",
    "EncoderPyramid",
    "ImTEDROIHeads",
    "MAEDecoder",
    "MAEEncoder",
    "MaskedAutoencoder",
    "ModulatedPooler",
    "ReconstructionDecoder",
    "ReleasedPyramid",
    "WindowedEncoder",
]
