"""Image files: which hold pixels of a byte a channel, whether they are whole, and reading them."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import numpy as np
from detectron2.data import detection_utils
from detectron2.utils.file_io import PathManager
from PIL import ExifTags, Image

from imted.errors import UserError

BYTE_MODES = frozenset(
    ("1", "L", "P", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "HSV", "LA", "La", "PA")
)
"""Pillow's modes that it converts to RGB by their meaning.

It cuts the others off at 255: a grey picture of 16 bits becomes white, one of floats black.
"""
Image.init()
FORMATS = tuple(
    name
    for name in ("AVIF", "BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
    if name in Image.OPEN  # AVIF from Pillow 11.3 on
)
"""Pillow's names of the formats that are read.

Others stay closed: for an EPS, whatever its name, Pillow starts Ghostscript.
"""
EXIF_TURNED = (5, 6, 7, 8)
"""EXIF orientations that exchange width and height."""
DEEP = "more than 8 bits a channel (Pillow's mode {mode}), which would be cut off, not scaled"


@contextmanager
def open_image(path: str) -> Iterator[tuple[Image.Image, IO[bytes]]]:
    """Open an image file of one of the `FORMATS`, and give its picture, not decoded, and the file.

    Raises:
        UserError: It is no file that ends, but a pipe, say.
        PIL.UnidentifiedImageError: It is no image of these formats.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        raise UserError(f"{path} is no regular file.")
    with PathManager.open(path, "rb") as file:
        yield Image.open(file, formats=FORMATS), file


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
        with open_image(path) as (image, _):
            mode = image.mode
        pixels = detection_utils.read_image(path, format=channels)
    except Exception as error:  # whatever a decoder raises, the file is at fault
        raise UserError(f"{path} can't be read as an image ({error}).") from None
    if mode not in BYTE_MODES:
        raise UserError(f"{path} has {DEEP.format(mode=mode)}; convert it to 8 bits.")
    return pixels


def inspect_image(path: str) -> tuple[int, int, int, str]:
    """Read an image file's header and verify that the file is whole.

    Pixels are decoded only where nothing cheaper tells: a PNG has check sums.

    Returns:
        Width and height as Detectron2 reads the image (its EXIF rotation applied), the EXIF
        orientation, 1 for an upright image, and Pillow's mode.

    Raises:
        Exception: Whatever Pillow raises at what is no image, or not all of one.
    """
    with open_image(path) as (image, file):
        width, height = image.size
        # PNG's own getexif() would decode all pixels first.
        orientation = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
        image_format, mode = image.format, image.mode
        image.verify()
        if image_format != "PNG":  # verify() reads no pixels
            file.seek(0)
            _require_whole(file.read())
    if orientation in EXIF_TURNED:
        width, height = height, width
    return width, height, orientation, mode


def _require_whole(data: bytes) -> None:
    """Raise an OSError at an image file that breaks off, though it may end as a whole JPEG does.

    Decoders fill what a JPEG lacks with one colour, and say nothing. What stands before the end
    marker of a whole one after its last pixel changes nothing; of a torn one, it is decoded.
    """
    image = _decoded(data)
    if image.format != "JPEG" or not data.endswith(_END):
        return
    width, height = image.size
    last = np.asarray(image.crop((max(width - 8, 0), max(height - 8, 0), width, height)))
    if image.info.get("progressive") or (last == last[0, 0]).all():
        longer = _decoded(data[: -len(_END)] + bytes(range(0, 255, 3)) * 16 + _END)
        if longer.tobytes() != image.tobytes():
            raise OSError("the file breaks off before its last pixel")


_END = b"\xff\xd9"


def _decoded(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    image.load()
    return image
