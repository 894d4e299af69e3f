"""The predictor: images in, detections out, as the evaluation computes them."""

import os
from collections.abc import Collection, Sequence
from typing import Any, overload

import detectron2.data.transforms as T
import numpy as np
import torch
from detectron2.config import instantiate
from detectron2.data import Metadata, detection_utils
from detectron2.structures import Instances
from omegaconf import DictConfig, OmegaConf
from PIL import Image, ImageOps
from torch import nn

from imted.checkpoint import Description
from imted.data.images import list_images
from imted.data.pixels import BYTE_MODES, DEEP, read_pixels
from imted.errors import UserError

from .detections import Detections
from .detector import load_run
from .tiles import merge_tiles, tile_windows

Picture = str | os.PathLike | Image.Image | np.ndarray
"""An image file, a PIL image, or pixels (H, W, 3), uint8, BGR as OpenCV and Detectron2 have it."""


class Predictor:
    """A trained detector for images of any kind.

    The counterpart of Detectron2's ``DefaultPredictor``::

        predictor = imted.Predictor("output/quickstart")
        detections = predictor("photo.jpg")
        detections.to_coco(image_id=1)

    Attributes:
        metadata: Detectron2's, with `thing_classes`, for its Visualizer.
        loaded: The detector, its config and description, the device and the file of the weights.
    """

    def __init__(
        self,
        source: str,
        *,
        config_file: str = "",
        overrides: Sequence[str] = (),
        device: str | None = None,
        threshold: float = 0.0,
        tile: int = 0,
        overlap: int = 128,
        batch_size: int = 1,
        allow: Collection[str] = (),
    ) -> None:
        """Load the detector.

        Args:
            source: The folder of a training, or a file of weights.
            config_file: By default the config.yaml beside the weights.
            overrides: `key=value`, as on train_net.py's command line.
            device: By default the GPU where there is one.
            threshold: Least score of a detection; the config's `test_score_thresh` comes first.
            tile: Side in pixels of the tiles that a larger image is cut into; 0 cuts none.
            overlap: Pixels that neighbouring tiles share, at least the size of most objects.
            batch_size: Most images that go through the model at once, of those that are given
                together and have one size.
            allow: Packages, classes or functions of yours that a config.yaml may name.

        Raises:
            UserError: See `imted.predict.load_run`; or a number is out of its range.
        """
        if not 0 <= threshold <= 1:
            raise UserError(f"The score threshold is {threshold}; it must be from 0 to 1.")
        if batch_size < 1:
            raise UserError(f"batch_size is {batch_size}; it must be at least 1.")
        if tile < 0 or (tile and not 0 <= overlap < tile):
            raise UserError(
                f"Tiles of {tile} pixels can't overlap by {overlap}; the overlap must be at least "
                "0 and less than the tile."
            )
        self.loaded = load_run(source, config_file, overrides, device, allow)
        self.metadata = Metadata(
            name=f"classes of {source}", thing_classes=list(self.description.classes)
        )
        self.threshold = threshold
        self.tile = tile
        self.overlap = overlap
        self.batch_size = batch_size
        augmentations = OmegaConf.select(self.cfg, "dataloader.test.mapper.augmentations")
        self._augmentations = T.AugmentationList(instantiate(augmentations or []))

    @property
    def model(self) -> nn.Module:
        """The detector, in evaluation mode."""
        return self.loaded.model

    @property
    def cfg(self) -> DictConfig:
        """Its config."""
        return self.loaded.run.cfg

    @property
    def description(self) -> Description:
        """Its classes and its preprocessing."""
        return self.loaded.description

    def examples(self, most: int) -> list[str]:
        """Return the first images of the config's validation set, if they are still there."""
        try:
            images = list_images(OmegaConf.select(self.cfg, "dataset.val_images") or "")
        except UserError:
            return []
        return [image["file_name"] for image in images[:most]]

    @overload
    def __call__(self, images: Picture) -> Detections: ...

    @overload
    def __call__(self, images: Sequence[Picture]) -> list[Detections]: ...

    def __call__(self, images: Any) -> Any:
        """Detect the objects of one image, or of each image of a list.

        Args:
            images: One `Picture` or a list of them. EXIF orientation is applied, as in
                training.

        Returns:
            Detections on the CPU at the image's own size, or a list of them.

        Raises:
            UserError: A file or an array is no image.
        """
        if isinstance(images, list | tuple):
            arrays = [self.read(image) for image in images]
            found: list[Detections] = []
            for start in range(0, len(arrays), self.batch_size):
                found.extend(self._detect(arrays[start : start + self.batch_size]))
            return found
        return self._detect([self.read(images)])[0]

    def read(self, image: Picture) -> np.ndarray:
        """Read an image as (H, W, 3), uint8, in the model's order of channels.

        Raises:
            UserError: It can't be read, or isn't three channels of bytes.
        """
        input_format = self.description.input_format
        if isinstance(image, np.ndarray):
            if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
                raise UserError(
                    f"An image must be an array (H, W, 3) of uint8 in BGR, not {image.shape} of "
                    f"{image.dtype}."
                )
            return image if input_format == "BGR" else image[:, :, ::-1]
        if not isinstance(image, Image.Image):
            return read_pixels(os.fspath(image), input_format)
        try:
            oriented = ImageOps.exif_transpose(image)
            pixels = detection_utils.convert_PIL_to_numpy(oriented, input_format)
        except Exception as error:  # whatever a decoder raises, the image is at fault
            raise UserError(f"The image can't be read as an image ({error}).") from None
        if image.mode not in BYTE_MODES:
            raise UserError(f"The image has {DEEP.format(mode=image.mode)}; convert it to 8 bits.")
        return pixels

    def preprocess(self, image: Picture) -> dict[str, Any]:
        """Turn an image into Detectron2's model input, resized as in the evaluation."""
        return self._prepare(self.read(image))

    def _prepare(self, pixels: np.ndarray) -> dict[str, Any]:
        height, width = pixels.shape[:2]
        augmented = T.AugInput(pixels)
        self._augmentations(augmented)
        if self.tile and max(height, width) > self.tile and augmented.image is pixels:
            # The whole of a tiled image, which the config doesn't resize: it would be as slow as
            # the tiles and larger than what was trained on.
            T.AugmentationList([T.ResizeShortestEdge(self.tile, self.tile)])(augmented)
        tensor = torch.as_tensor(np.ascontiguousarray(augmented.image.transpose(2, 0, 1)))
        return {"image": tensor, "height": height, "width": width}

    def _detect(self, arrays: list[np.ndarray]) -> list[Detections]:
        """Detect in a batch of pixels, in tiles where an image is larger than these."""
        if not self.tile:
            return [self._detections(instances) for instances in self._forward(arrays)]
        return [self._detect_tiled(array) for array in arrays]

    def _detect_tiled(self, pixels: np.ndarray) -> Detections:
        height, width = pixels.shape[:2]
        windows = tile_windows(height, width, self.tile, self.overlap)
        found: list[Instances] = []
        for start in range(0, len(windows), self.batch_size):
            batch = windows[start : start + self.batch_size]
            found.extend(self._forward([pixels[w.slices] for w in batch]))
        if len(windows) == 1:
            return self._detections(found[0])
        nms = self.cfg.model.roi_heads.box_predictor.get("test_nms_thresh", 0.5)
        merged = merge_tiles(windows, found, (height, width), nms)
        return self._detections(merged)

    def _forward(self, arrays: list[np.ndarray]) -> list[Instances]:
        inputs = [self._prepare(array) for array in arrays]
        with torch.inference_mode(), self.loaded.run.autocast():
            return [result["instances"].to("cpu") for result in self.model(inputs)]

    def _detections(self, instances: Instances) -> Detections:
        kept = instances[instances.scores >= self.threshold]
        return Detections(kept.image_size, self.description, **kept.get_fields())
