"""Augmentations by name, at the sizes of the config that they are taken into."""

from collections.abc import Callable, Sequence

import detectron2.data.transforms as T
import numpy as np

from imted.errors import UserError

Augmentations = list[T.Augmentation]


class ScaleJitter(T.Augmentation):
    """Fit an image into a square, times a random scale.

    As Detectron2's ``ResizeScale``, but no side of a narrow image becomes 0 pixels.
    """

    def __init__(self, side: int, least: float, most: float) -> None:
        """Keep the settings.

        Args:
            side: The side of the square, in pixels.
            least: The lowest scale.
            most: The highest.
        """
        super().__init__()
        self.side, self.least, self.most = side, least, most

    def get_transform(self, image: np.ndarray) -> T.Transform:
        """Return the transform for an image (H, W, C)."""
        height, width = image.shape[:2]
        scale = np.random.uniform(self.least, self.most) * self.side / max(height, width)
        size = (max(1, round(length * scale)) for length in (height, width))
        return T.ResizeTransform(height, width, *size)


def detr(resize: T.ResizeShortestEdge) -> Augmentations:
    """Flips and scales, half of the images cropped (Carion et al. 2020); imTED's on COCO.

    Args:
        resize: The config's own resizing. DETR's numbers are for a short side of up to 800; they
            follow its own.
    """
    unit = max(resize.short_edge_length) / 800
    first = [round(edge * unit) for edge in (400, 500, 600)]
    crop = (round(384 * unit), round(600 * unit))
    rescaled_crop = [
        T.ResizeShortestEdge(first, sample_style="choice"),
        T.RandomCrop("absolute_range", crop),
    ]
    return [
        T.RandomFlip(horizontal=True),
        T.RandomApply(T.AugmentationList(rescaled_crop), prob=0.5),
        resize,
    ]


def large_scale_jitter(resize: T.ResizeShortestEdge) -> Augmentations:
    """Flips, and 0.1 to 2 times the size, cropped (Ghiasi et al. 2021); ViTDet's on COCO.

    Args:
        resize: As for `detr`.
    """
    return [T.RandomFlip(horizontal=True), *_scaled_crop(resize, 0.1, 2.0)]


def strong(resize: T.ResizeShortestEdge) -> Augmentations:
    """Flips, 0.5 to 1.5 times the size, cropped, and other light; for small sets of photos.

    Args:
        resize: As for `detr`.
    """
    return [
        T.RandomFlip(horizontal=True),
        *_scaled_crop(resize, 0.5, 1.5),
        T.RandomBrightness(0.6, 1.4),
        T.RandomContrast(0.6, 1.4),
        T.RandomSaturation(0.6, 1.4),
    ]


def _scaled_crop(resize: T.ResizeShortestEdge, least: float, most: float) -> Augmentations:
    """Fit the image into a square, times a random scale, and crop what is too large for it.

    The square is 1024 where the short side is up to 800, as ViTDet has them. Batches are padded
    later, to their largest image.
    """
    side = round(max(resize.short_edge_length) * 1024 / 800)
    return [ScaleJitter(side, least, most), T.FixedSizeCrop((side, side), pad=False)]


_BY_NAME: dict[str, Callable[[T.ResizeShortestEdge], Augmentations]] = {
    function.__name__: function for function in (detr, large_scale_jitter, strong)
}
DEFAULT = "default"
"""The name of what the config's mapper has itself."""
NAMES = (DEFAULT, *_BY_NAME)


def build_augmentations(name: str, own: Sequence[T.Augmentation]) -> Augmentations:
    """Return the augmentations of a name.

    Args:
        name: One of `NAMES`.
        own: The mapper's own, whose last ``ResizeShortestEdge`` gives the sizes.

    Raises:
        UserError: There is no such name, or nothing to take the sizes from.
    """
    if name == DEFAULT:
        return list(own)
    if name not in _BY_NAME:
        raise UserError(
            f'dataloader.train.augmentation is "{name}"; it must be '
            f"{' or '.join(map(repr, NAMES))}."
        )
    sizes = [aug for aug in own if isinstance(aug, T.ResizeShortestEdge)]
    if not sizes:
        raise UserError(
            f"dataloader.train.augmentation={name} takes its sizes from a ResizeShortestEdge, and "
            "dataloader.train.mapper.augmentations has none; put one there, or leave it default."
        )
    return _BY_NAME[name](sizes[-1])
