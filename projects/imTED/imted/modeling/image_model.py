"""What models of whole images share: where they are, and how pixels are normalised."""

import torch
from torch import nn


class ImageModel(nn.Module):
    """Base of models whose batches are images of one size."""

    pixel_mean: torch.Tensor
    pixel_std: torch.Tensor

    def __init__(self, pixel_mean: list[float], pixel_std: list[float]) -> None:
        """Keep the normalisation; it is no part of a checkpoint.

        Args:
            pixel_mean: Mean of each channel (RGB), in [0, 255].
            pixel_std: Standard deviation of each channel.
        """
        super().__init__()
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), False)

    @property
    def device(self) -> torch.device:
        """Where the model is, and where inputs are moved to."""
        return self.pixel_mean.device

    def normalize(self, images: torch.Tensor) -> torch.Tensor:
        """Normalise images (N, 3, H, W), values in [0, 255]."""
        return (images - self.pixel_mean) / self.pixel_std

    def stack(self, batched_inputs: list[dict]) -> torch.Tensor:
        """Move each item's "image", (3, H, W), here; return all of them normalised."""
        images = torch.stack([item["image"].to(self.device) for item in batched_inputs])
        return self.normalize(images)
