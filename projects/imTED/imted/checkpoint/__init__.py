"""Reading and writing of weights: official MAE checkpoints, released detectors, and our own."""

from .description import Description
from .files import read_description, read_state_dict, require_finite, save_mae, save_state_dict
from .loader import load_checkpoint, load_trained
from .report import LoadReport

__all__ = [
    "Description",
    "LoadReport",
    "load_checkpoint",
    "load_trained",
    "read_description",
    "read_state_dict",
    "require_finite",
    "save_mae",
    "save_state_dict",
]
