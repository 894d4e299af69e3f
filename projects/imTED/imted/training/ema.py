"""The exponential moving average of the weights.

A checkpoint then holds the trained weights under "model" and the average under "ema", with the
same names. Training continues from the former; evaluation (periodic, final and `--eval-only`)
uses the latter.
"""

from detectron2.engine import HookBase
from timm.utils import ModelEmaV3
from torch import nn


class EMAHook(HookBase):
    """Average the weights after every step: ema = decay * ema + (1 - decay) * weights.

    Args:
        model: The model itself, not its DDP wrapper, with the weights the average starts from.
        decay: What the average keeps of itself at each step, in [0, 1).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._model = model
        self._ema = ModelEmaV3(model, decay=decay)

    @property
    def module(self) -> nn.Module:
        """Return the averaged model, in evaluation mode."""
        return self._ema.module

    def after_step(self) -> None:
        """Move the average towards the weights."""
        self._ema.update(self._model)
