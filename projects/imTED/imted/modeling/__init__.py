"""imTED's modules: from encoder and decoder to detectors and MAE."""

from .decoder import DecoderBoxHead, MAEDecoder, ReconstructionDecoder
from .detector import ImTEDDetector
from .encoder import MAEEncoder
from .image_model import ImageModel
from .masked_autoencoder import MaskedAutoencoder
from .modulated_pooler import ModulatedPooler
from .parts import ClassLogits, ModelParts, parts_of
from .pyramid import EncoderPyramid, ReleasedPyramid
from .region_reconstruction import RandomRegions, RegionPrediction, RegionReconstruction
from .roi_heads import VARIANTS, ImTEDROIHeads
from .roi_pooler import ROIPooler
from .windowed_encoder import WindowedEncoder

__all__ = [
    "VARIANTS",
    "ClassLogits",
    "DecoderBoxHead",
    "EncoderPyramid",
    "ImTEDDetector",
    "ImTEDROIHeads",
    "ImageModel",
    "MAEDecoder",
    "MAEEncoder",
    "MaskedAutoencoder",
    "ModelParts",
    "ModulatedPooler",
    "ROIPooler",
    "RandomRegions",
    "ReconstructionDecoder",
    "RegionPrediction",
    "RegionReconstruction",
    "ReleasedPyramid",
    "WindowedEncoder",
    "parts_of",
]
