"""The masked autoencoder (He et al., 2022) over the same encoder and decoder as the detector.

Shapes: N images, L patches of an image, p the side of a patch.
"""

import torch

from .decoder import ReconstructionDecoder
from .encoder import MAEEncoder
from .image_model import ImageModel


def patchify(images: torch.Tensor, patch_size: int) -> torch.Tensor:
    """Cut images (N, 3, H, W) into patches (N, L, p * p * 3), row by row, channel last."""
    batch, channels, height, width = images.shape
    rows, columns = height // patch_size, width // patch_size
    patches = images.reshape(batch, channels, rows, patch_size, columns, patch_size)
    return patches.permute(0, 2, 4, 3, 5, 1).reshape(batch, rows * columns, -1)


def unpatchify(patches: torch.Tensor, patch_size: int, grid: tuple[int, int]) -> torch.Tensor:
    """Put patches (N, L, p * p * 3) together again: images (N, 3, H, W)."""
    rows, columns = grid
    images = patches.reshape(len(patches), rows, columns, patch_size, patch_size, 3)
    images = images.permute(0, 5, 1, 3, 2, 4)
    return images.reshape(len(patches), 3, rows * patch_size, columns * patch_size)


def normalize_patches(patches: torch.Tensor) -> torch.Tensor:
    """Give every patch mean 0 and (unbiased) variance 1 over its pixels: the normalised target."""
    variance, mean = torch.var_mean(patches, dim=-1, keepdim=True)
    return (patches - mean) / (variance + 1e-6).sqrt()


class MaskedAutoencoder(ImageModel):
    """Hide most patches of an image, encode the rest, and predict the hidden pixels."""

    def __init__(
        self,
        *,
        encoder: MAEEncoder,
        decoder: ReconstructionDecoder,
        pixel_mean: list[float],
        pixel_std: list[float],
        mask_ratio: float = 0.75,
        norm_pix_loss: bool = True,
    ) -> None:
        """Build the modules.

        Args:
            encoder: Sees the visible patches only.
            decoder: Sees all places, the hidden ones as mask tokens.
            pixel_mean: Mean of each channel (RGB), in [0, 255].
            pixel_std: Standard deviation of each channel.
            mask_ratio: Fraction of the patches that is hidden.
            norm_pix_loss: Predict each patch normalised by its own mean and variance.
        """
        super().__init__(pixel_mean, pixel_std)
        self.encoder = encoder
        self.decoder = decoder
        self.mask_ratio = mask_ratio
        self.norm_pix_loss = norm_pix_loss
        # Fixed sin-cos in pre-training; the detector trains the encoder's copy further.
        self.encoder.pos_embed.requires_grad_(False)

    def forward(self, batched_inputs: list[dict]) -> dict[str, torch.Tensor]:
        """Compute the reconstruction loss.

        Args:
            batched_inputs: One dict per image with "image", (3, H, W), values in [0, 255], all
                images of one size.

        Returns:
            {"loss_reconstruction": mean squared error over the hidden patches}.
        """
        images = self.stack(batched_inputs)
        prediction, hidden = self.reconstruct(images)
        target = patchify(images, self.encoder.patch_size)
        if self.norm_pix_loss:
            target = normalize_patches(target)
        error = (prediction - target).square().mean(dim=-1)
        return {"loss_reconstruction": (error * hidden).sum() / hidden.sum()}

    def reconstruct(
        self, images: torch.Tensor, noise: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Hide patches at random and predict all of them.

        Args:
            images: Normalised images (N, 3, H, W).
            noise: (N, L); the patches with the lowest noise stay visible. Drawn if not given.

        Returns:
            Predicted patches (N, L, p * p * 3), in the space of the loss's target, and the mask
            (N, L), 1 where a patch was hidden.
        """
        grid = tuple(side // self.encoder.patch_size for side in images.shape[-2:])
        tokens = self.encoder.embed(images)
        if noise is None:
            noise = torch.rand(tokens.shape[:2], device=tokens.device)
        num_visible = int(tokens.shape[1] * (1 - self.mask_ratio))
        ids_shuffle = noise.argsort(dim=1)
        ids_restore = ids_shuffle.argsort(dim=1)
        ids_visible = ids_shuffle[:, :num_visible, None].expand(-1, -1, tokens.shape[2])
        encoded = self.encoder.encode(tokens.gather(1, ids_visible))
        prediction = self.decoder(encoded, ids_restore, grid)
        return prediction, (ids_restore >= num_visible).to(images.dtype)
