"""Which image files hold pixels of a byte a channel, and reading them."""

import numpy as np
from detectron2.data import detection_utils
from detectron2.utils.file_io import PathManager
from PIL import Image

from imted.errors import UserError

BYTE_MODES = frozenset(
    ("1", "L", "P", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "HSV", "LA", "La", "PA")
)
"""Pillow's modes that it converts to RGB by their meaning.

It cuts the others off at 255: a grey picture of 16 bits becomes white, one of floats black.
"""
DEEP = "more than 8 bits a channel (Pillow's mode {mode}), which would be cut off, not scaled"


def read_pixels(path: str, channels: str) -> np.ndarray:
    """Read an image file as Detectron2 does, upright.

    Args:
        path: The file's path.
        channels: "RGB" or "BGR".

    Returns:
        (H, W, 3), uint8.

    Raises:
        UserError: It can't be read, or has more than 8 bits a channel.
    """
    try:
        with PathManager.open(path, "rb") as file, Image.open(file) as image:
            mode = image.mode
        pixels = detection_utils.read_image(path, format=channels)
    except Exception as error:  # whatever a decoder raises, the file is at fault
        raise UserError(f"{path} can't be read as an image ({error}).") from None
    if mode not in BYTE_MODES:
        raise UserError(f"{path} has {DEEP.format(mode=mode)}; convert it to 8 bits.")
    return pixels
