"""imTED on Detectron2: detectors whose backbone and box head are one masked autoencoder."""

import importlib
from typing import TYPE_CHECKING, Any

from imted.compat import leave_out_compiler, quiet_libraries

quiet_libraries()  # before anything imports them
leave_out_compiler()

from imted import model_zoo  # noqa: E402

if TYPE_CHECKING:
    from imted.predict import Predictor, load_detector

__all__ = ["Predictor", "__version__", "load_detector", "model_zoo"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import the predictor when it is asked for: it needs all of the engine."""
    if name in ("Predictor", "load_detector"):
        return getattr(importlib.import_module("imted.predict"), name)
    raise AttributeError(f"module 'imted' has no attribute {name!r}")
