"""Reading and writing of weights: MAE checkpoints in the official layout, and our own."""

from .files import read_state_dict, save_mae
from .loader import load_checkpoint
from .report import LoadReport

__all__ = ["LoadReport", "load_checkpoint", "read_state_dict", "save_mae"]
