"""Reading and writing of weights: official MAE checkpoints, released detectors, and our own."""

from .files import read_state_dict, save_mae, save_state_dict
from .loader import load_checkpoint
from .report import LoadReport

__all__ = ["LoadReport", "load_checkpoint", "read_state_dict", "save_mae", "save_state_dict"]
