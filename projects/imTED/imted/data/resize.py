"""Resizing as the released imTED has it: mmdetection's, which is OpenCV's."""

import cv2
import detectron2.data.transforms as T
import numpy as np


class OpenCVResizeTransform(T.ResizeTransform):
    """Detectron2's ``ResizeTransform``, except that OpenCV interpolates images bilinearly.

    PIL, which Detectron2 uses, averages over all pixels when it shrinks an image; OpenCV reads
    the four nearest.
    """

    def apply_image(self, img: np.ndarray, interp: int | None = None) -> np.ndarray:
        """Resize an image (H, W, C); with `interp` (a label map's), as Detectron2 does."""
        if interp is not None:
            return super().apply_image(img, interp)
        return cv2.resize(img, (self.new_w, self.new_h), interpolation=cv2.INTER_LINEAR)

    def inverse(self) -> T.Transform:
        """Return the transform that resizes back."""
        return OpenCVResizeTransform(self.new_h, self.new_w, self.h, self.w)


class OpenCVResizeShortestEdge(T.Augmentation):
    """Resize to a shortest edge, but to no longer edge than allowed; the ratio is kept.

    As Detectron2's ``ResizeShortestEdge``, with OpenCV's interpolation and mmdetection's rounding.
    """

    def __init__(self, short_edge_length: int, max_size: int) -> None:
        """Keep the settings.

        Args:
            short_edge_length: Pixels of the shorter edge, as long as `max_size` allows it.
            max_size: Most pixels of the longer edge.
        """
        super().__init__()
        self.short_edge_length = short_edge_length
        self.max_size = max_size

    def get_transform(self, image: np.ndarray) -> T.Transform:
        """Return the transform for an image (H, W, C)."""
        height, width = image.shape[:2]
        factor = min(
            self.max_size / max(height, width), self.short_edge_length / min(height, width)
        )
        size = (int(side * factor + 0.5) for side in (height, width))
        return OpenCVResizeTransform(height, width, *size)
