"""From an image to a detection: a trained detector, and what it says."""

from .detections import Detections
from .detector import LoadedDetector, load_detector, load_run
from .predictor import Predictor

__all__ = ["Detections", "LoadedDetector", "Predictor", "load_detector", "load_run"]
