"""Pictures between the browser and the model: uploads, what is sent back, outlines of masks."""

import base64
import io
import math
import warnings

import cv2
import numpy as np
import torch
from PIL import Image, ImageOps
from torchvision.transforms.v2 import functional

from imted.data.pixels import BYTE_MODES, DEEP, FORMATS
from imted.errors import UserError
from imted.modeling import MaskedAutoencoder

MAX_PIXELS = 25_000_000
"""Of an image."""
DISPLAY_SIDE = 1600
"""Pixels of the longer side from which an image is made smaller, as a screen shows it.

Each of a hundred masks has as many bytes as the image has pixels.
"""


class TooManyPixels(UserError):
    """The image is larger than `MAX_PIXELS`."""


def read_image(data: bytes) -> Image.Image:
    """Read an uploaded image: its first frame, upright, in RGB, no larger than a screen shows it.

    Raises:
        TooManyPixels: It is too large.
        UserError: It is empty, none of `FORMATS`, or damaged.
    """
    if not data:
        raise UserError("The request holds no image; send the file as its body.")
    try:
        with warnings.catch_warnings():
            # Pillow warns of large images; here the limit is lower than its own.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=FORMATS)
        pixels = image.width * image.height
        if image.mode not in BYTE_MODES:
            raise ValueError(DEEP.format(mode=image.mode))
        if pixels <= MAX_PIXELS:
            upright = ImageOps.exif_transpose(image).convert("RGB")
            upright.thumbnail((DISPLAY_SIDE, DISPLAY_SIDE))
            return upright
    except Image.DecompressionBombError:
        pixels = Image.MAX_IMAGE_PIXELS or 0
    except Exception as error:  # whatever a decoder raises, the file is at fault
        reason = "" if isinstance(error, Image.UnidentifiedImageError) else f" ({error})"
        raise UserError(
            f"This can't be read as an image{reason}; send one of {', '.join(FORMATS)}."
        ) from None
    raise TooManyPixels(
        f"The image has {pixels / 1e6:.0f} million pixels or more; at most "
        f"{MAX_PIXELS / 1e6:.0f} million are taken."
    )


def fit_to_mae(image: Image.Image, mae: MaskedAutoencoder) -> torch.Tensor:
    """Resize a whole image to about as many patches as those of the pre-training have.

    Returns:
        (1, 3, H, W), uint8; both sides are multiples of the patch size.
    """
    side, patches = mae.encoder.patch_size, mae.encoder.pos_embed.shape[1] - 1
    scale = math.sqrt(patches / (image.width * image.height))
    size = [min(patches, max(1, round(n * scale))) * side for n in (image.height, image.width)]
    return functional.resize(functional.pil_to_tensor(image), size)[None]


def data_url(image: Image.Image, kind: str) -> str:
    """Write a picture as a URL that holds it; `kind` is "jpeg" or "png"."""
    file = io.BytesIO()
    image.save(file, kind, **({"quality": 95} if kind == "jpeg" else {}))
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def outline(mask: np.ndarray) -> str:
    """Draw a mask (H, W), bool, as a path of SVG through the centres of its outer pixels.

    Holes are paths within, for the fill rule "evenodd".
    """
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    lines = ("L".join(f"{x + 0.5} {y + 0.5}" for x, y in contour[:, 0]) for contour in contours)
    return "".join(f"M{line}Z" for line in lines)
