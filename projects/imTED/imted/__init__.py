"""imTED on Detectron2: detectors whose backbone and box head are one masked autoencoder."""

from imted.compat import quiet_libraries

quiet_libraries()  # before anything imports them

from imted import model_zoo  # noqa: E402

__all__ = ["__version__", "model_zoo"]

__version__ = "0.1.0"
