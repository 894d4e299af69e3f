"""imTED's modules: from encoder and decoder to detectors, MAE and single-object localizer."""

from .decoder import DecoderBoxHead, MAEDecoder, ReconstructionDecoder
from .encoder import MAEEncoder
from .masked_autoencoder import MaskedAutoencoder
from .modulated_pooler import ModulatedPooler
from .pyramid import EncoderPyramid, PublishedPyramid
from .roi_heads import RUNGS, ImTEDROIHeads
from .single_object import SingleObjectLocalizer
from .windowed_encoder import WindowedEncoder

__all__ = [
    "RUNGS",
    "DecoderBoxHead",
    "EncoderPyramid",
    "ImTEDROIHeads",
    "MAEDecoder",
    "MAEEncoder",
    "MaskedAutoencoder",
    "ModulatedPooler",
    "PublishedPyramid",
    "ReconstructionDecoder",
    "SingleObjectLocalizer",
    "WindowedEncoder",
]
