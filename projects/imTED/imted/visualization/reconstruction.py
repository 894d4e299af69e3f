"""What a masked autoencoder makes of images most of which it does not see, and of regions.

Shapes: N images, L patches of an image, p the side of a patch.
"""

from inspect import signature

import torch
from detectron2.config import instantiate
from detectron2.structures import Boxes
from omegaconf import DictConfig

from imted.checkpoint import load_checkpoint
from imted.errors import UserError
from imted.modeling import (
    ImTEDDetector,
    MAEDecoder,
    MAEEncoder,
    MaskedAutoencoder,
    ReconstructionDecoder,
    RegionReconstruction,
)
from imted.modeling.masked_autoencoder import patchify, unpatchify

GREY = 128
"""Value of hidden pixels in a masked image."""


def load_mae(model: DictConfig, path: str) -> MaskedAutoencoder:
    """Build the masked autoencoder that a detector came from, and load its weights.

    Args:
        model: The detector's config, which has the encoder's and the decoder's sizes.
        path: A MAE checkpoint with encoder and decoder.

    Raises:
        UserError: There is no such checkpoint, or it is not of the detector's sizes.
    """
    encoder = instantiate(model.backbone.net)
    if not path or not isinstance(encoder, MAEEncoder):
        raise UserError("the detector was not made of a plain MAE (train.init_checkpoint).")
    shared = signature(MAEDecoder).parameters  # the box head has options of its own
    sizes = {key: value for key, value in model.roi_heads.box_head.items() if key in shared}
    decoder = ReconstructionDecoder(patch_size=encoder.patch_size, **sizes)
    mae = MaskedAutoencoder(
        encoder=encoder,
        decoder=decoder,
        pixel_mean=list(model.pixel_mean),
        pixel_std=list(model.pixel_std),
    )
    load_checkpoint(mae, path)
    return mae.eval()


@torch.no_grad()
def reconstruct(
    mae: MaskedAutoencoder, images: torch.Tensor, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Hide patches of images at random and let the autoencoder predict them.

    Args:
        mae: The model.
        images: RGB images (N, 3, H, W), uint8, both sides multiples of the patch size.
        seed: Seeds the choice of patches.

    Returns:
        The images with their hidden patches grey, and with these as the model predicts them;
        both as `images`. A model of normalised patches does not predict a patch's mean and
        standard deviation: they are taken from the image.
    """
    side = mae.encoder.patch_size
    grid = (images.shape[2] // side, images.shape[3] // side)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(len(images), grid[0] * grid[1], generator=generator)
    normalised = mae.normalize(images)
    prediction, hidden = mae.reconstruct(normalised, noise)
    if mae.norm_pix_loss:
        prediction = denormalize_patches(prediction, patchify(normalised, side))
    predicted = unpatchify(prediction, side, grid) * mae.pixel_std + mae.pixel_mean
    predicted = predicted.round().clamp(0, 255).to(torch.uint8)
    hidden = unpatchify(hidden[..., None].expand_as(prediction), side, grid).bool()
    return images.masked_fill(hidden, GREY), torch.where(hidden, predicted, images)


@torch.no_grad()
def reconstruct_regions(
    model: ImTEDDetector, images: torch.Tensor, boxes: list[Boxes]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Let the decoder draw regions, with the modulator and without it.

    Args:
        model: With `RegionReconstruction` for its ROI heads.
        images: RGB images (N, 3, H, W), uint8, of one size.
        boxes: Regions of each image, R in all.

    Returns:
        The regions themselves, what is predicted of the modulated RoIs, and of the encoder's RoIs
        alone; each (R, 3, S, S), uint8. Mean and deviation of a prediction are taken from the
        region.
    """
    heads = model.roi_heads
    assert isinstance(heads, RegionReconstruction)
    batch = model.preprocess_image([{"image": image} for image in images]).tensor
    features = model.backbone(batch)
    crops = heads.crops(batch, boxes)
    _, mean, deviation = heads.normalized(crops)
    modulated = heads.predict(features, boxes)
    encoder_pooler = heads.box_pooler.encoder_pooler
    plain = heads.decode(encoder_pooler([features[heads.box_in_features[-1]]], boxes))
    grid = encoder_pooler.output_size
    pixels = torch.cat([crops, modulated * deviation + mean, plain * deviation + mean])
    pictures = unpatchify(pixels, heads.prediction.pixels, grid)
    pictures = (pictures * model.pixel_std + model.pixel_mean).round().clamp(0, 255)
    whole, with_pyramid, without = pictures.to(torch.uint8).chunk(3)
    return whole, with_pyramid, without


def denormalize_patches(normalised: torch.Tensor, patches: torch.Tensor) -> torch.Tensor:
    """Undo `normalize_patches`: give patches (N, L, p * p * 3) the mean and variance of others."""
    variance, mean = torch.var_mean(patches, dim=-1, keepdim=True)
    return normalised * (variance + 1e-6).sqrt() + mean
