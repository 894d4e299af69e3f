"""Images without labels, for pre-training a masked autoencoder."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision import transforms

from imted.data.dataset import read_coco
from imted.data.pixels import FORMATS, read_pixels
from imted.errors import UserError

IMAGE_SUFFIXES = {
    suffix for suffix, name in Image.registered_extensions().items() if name in FORMATS
}
"""Of the files that a folder of images is taken to hold, in lower case."""


def list_images(images: str, json_file: str = "") -> list[dict[str, str]]:
    """List the images of a folder (and its subfolders), or those that a COCO json names.

    Args:
        images: Folder of images; with `json_file`, the root of the file names in it.
        json_file: COCO-format json whose "images" are wanted. Empty: every image in the folder.

    Returns:
        One {"file_name": path} per image, sorted by path.

    Raises:
        UserError: If the folder or the json is missing or holds no image.
    """
    root = Path(images)
    if not images or not root.is_dir():
        raise UserError(
            f"The image folder {images!r} does not exist; name one with "
            "dataloader.train.dataset.images=<folder>."
        )
    if json_file:
        names = [image["file_name"] for image in read_coco(json_file, "images")["images"]]
        files = sorted(root / name for name in names)
    else:
        files = sorted(path for path in root.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    missing = [str(path) for path in files if not path.is_file()]
    if missing:
        raise UserError(
            f"{json_file} names {len(missing)} images that are not in {images}, such as "
            f"{missing[0]}; correct dataloader.train.dataset.images."
        )
    if not files:
        raise UserError(f"{json_file or images} holds no images to pre-train on.")
    return [{"file_name": str(path)} for path in files]


class PretrainMapper:
    """MAE's augmentation: a random resized crop and a horizontal flip, nothing else."""

    def __init__(self, image_size: int, min_scale: float = 0.2) -> None:
        """Make the transform.

        Args:
            image_size: Side of the crop after resizing, in pixels.
            min_scale: Smallest area of the crop, as a fraction of the image.
        """
        self.transform = transforms.Compose(
            [
                transforms.RandomResizedCrop(
                    image_size,
                    scale=(min_scale, 1.0),
                    interpolation=transforms.InterpolationMode.BICUBIC,
                    antialias=True,
                ),
                transforms.RandomHorizontalFlip(),
            ]
        )

    def __call__(self, dataset_dict: dict[str, str]) -> dict[str, torch.Tensor | str]:
        """Read one image and return it with "image": (3, S, S), uint8, RGB."""
        image = read_pixels(dataset_dict["file_name"], "RGB")
        image = np.asarray(self.transform(Image.fromarray(image)))
        return {**dataset_dict, "image": torch.from_numpy(image.transpose(2, 0, 1).copy())}
