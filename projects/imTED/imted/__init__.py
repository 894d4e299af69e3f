"""imTED on Detectron2: detectors whose backbone and box head are one masked autoencoder."""

__version__ = "0.1.0"
