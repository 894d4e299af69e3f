"""Region reconstruction: a pre-training of pyramid and modulator, without labels.

It goes beyond the paper, where these two start at random and the modulator's scale at zero. In the
detector, two parts are replaced: the proposals by boxes at random, and the heads by MAE's own task
at the level of regions. The decoder reads the modulated RoIs and each of its tokens predicts the
pixels of its own place, so the pyramid learns to add what the encoder's stride has lost.

Shapes: R regions of all images, D encoder channels, C decoder channels, S x S positions of a RoI,
p x p pixels of a position.
"""

from collections.abc import Mapping, Sequence

import torch
from detectron2.layers import ROIAlign
from detectron2.modeling.poolers import convert_boxes_to_pooler_format
from detectron2.structures import Boxes, ImageList, Instances
from torch import nn
from torchvision.ops import box_convert, clip_boxes_to_image

from imted.errors import UserError

from .decoder import ReconstructionDecoder
from .masked_autoencoder import patchify
from .modulated_pooler import ModulatedPooler
from .transformer_blocks import LayerNorm, init_transformer_weights


class RandomRegions(nn.Module):
    """Boxes of random place, size and shape, where a detector has its proposals."""

    def __init__(
        self,
        *,
        regions_per_image: int,
        min_size: float,
        max_size: float,
        max_aspect_ratio: float = 2.0,
    ) -> None:
        """Keep the settings.

        Args:
            regions_per_image: How many to draw.
            min_size: Least size in pixels: the root of a box's area, drawn log-uniformly.
            max_size: The greatest.
            max_aspect_ratio: Of width to height, or of height to width; drawn log-uniformly.

        Raises:
            UserError: There would be no regions, or none of these sizes.
        """
        super().__init__()
        if regions_per_image < 1 or not 0 < min_size <= max_size or max_aspect_ratio < 1:
            raise UserError(
                f"regions_per_image={regions_per_image}, min_size={min_size}, max_size={max_size}, "
                f"max_aspect_ratio={max_aspect_ratio}: there must be a region, its sizes ascend "
                "from above 0, and the ratio be at least 1."
            )
        self.regions_per_image = regions_per_image
        self.sizes = (min_size, max_size)
        self.max_aspect_ratio = max_aspect_ratio

    def forward(
        self, images: ImageList, features: Mapping[str, torch.Tensor], targets: object = None
    ) -> tuple[list[Instances], dict[str, torch.Tensor]]:
        """Return proposals of each image, as Detectron2's proposal generators do, and no losses."""
        return [self._draw(size, images.tensor.device) for size in images.image_sizes], {}

    def _draw(self, image_size: tuple[int, int], device: torch.device) -> Instances:
        size_draw, ratio_draw, x, y = torch.rand(4, self.regions_per_image, device=device)
        low, high = self.sizes
        sizes = low * (high / low) ** size_draw
        ratios = self.max_aspect_ratio ** (2 * ratio_draw - 1)
        height, width = image_size
        widths = (sizes * ratios.sqrt()).clamp(max=width)
        heights = (sizes / ratios.sqrt()).clamp(max=height)
        corners = x * (width - widths), y * (height - heights)
        boxes = box_convert(torch.stack([*corners, widths, heights], dim=1), "xywh", "xyxy")
        return Instances(image_size, proposal_boxes=Boxes(clip_boxes_to_image(boxes, image_size)))


class RegionPrediction(nn.Module):
    """From decoded tokens to the pixels of their places, as MAE's ``decoder_pred`` for patches."""

    def __init__(self, *, dim: int, pixels: int = 4) -> None:
        """Build the modules.

        Args:
            dim: Channels of a token (C).
            pixels: Side of a token's place in the region's picture (p).
        """
        super().__init__()
        self.pixels = pixels
        self.norm = LayerNorm(dim)
        self.linear = nn.Linear(dim, pixels**2 * 3)
        init_transformer_weights(self.linear)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Turn tokens (R, L, C) into pixels (R, L, p * p * 3), channel last."""
        return self.linear(self.norm(tokens))


class RegionReconstruction(nn.Module):
    """ROI heads that predict the pixels of their RoIs.

    The target is the RoI's crop of the image, S * p pixels a side, with mean 0 and variance 1 over
    the region: what it looks like rather than how bright it is.
    """

    def __init__(
        self,
        *,
        box_in_features: Sequence[str],
        box_pooler: ModulatedPooler,
        decoder: ReconstructionDecoder,
        prediction: RegionPrediction,
    ) -> None:
        """Take the modules.

        Args:
            box_in_features: As for `imted.modeling.ImTEDROIHeads`.
            box_pooler: The detector's.
            decoder: The MAE's, whole, so that a MAE is what is saved.
            prediction: Of each token's pixels.
        """
        super().__init__()
        self.box_in_features = list(box_in_features)
        self.box_pooler = box_pooler
        self.decoder = decoder
        self.prediction = prediction
        rows, columns = box_pooler.encoder_pooler.output_size
        side = (rows * prediction.pixels, columns * prediction.pixels)
        self.crop = ROIAlign(side, spatial_scale=1.0, sampling_ratio=2, aligned=True)

    def forward(
        self,
        images: ImageList,
        features: Mapping[str, torch.Tensor],
        proposals: list[Instances],
        targets: object = None,
    ) -> tuple[list[Instances], dict[str, torch.Tensor]]:
        """Compute the loss, as Detectron2's ROI heads do in training.

        Returns:
            Nothing found, and {"loss_regions": mean squared error over all pixels}.
        """
        boxes = [item.proposal_boxes for item in proposals]
        target, _, _ = self.normalized(self.crops(images.tensor, boxes))
        error = (self.predict(features, boxes).float() - target).square()
        return [], {"loss_regions": error.mean()}

    def crops(self, images: torch.Tensor, boxes: list[Boxes]) -> torch.Tensor:
        """Cut regions out of images (N, 3, H, W): (R, S * S, p * p * 3), as `patchify` has them."""
        rois = convert_boxes_to_pooler_format(boxes)
        return patchify(self.crop(images.float(), rois), self.prediction.pixels)

    @staticmethod
    def normalized(crops: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Give crops (R, L, V) mean 0 and variance 1 each; return mean and deviation (R, 1, 1) too.

        A region without contrast keeps its noise small: 0.01 is added to the variance, in the unit
        of normalised pixels.
        """
        variance, mean = torch.var_mean(crops, dim=(1, 2), keepdim=True, unbiased=False)
        deviation = (variance + 0.01).sqrt()
        return (crops - mean) / deviation, mean, deviation

    def predict(self, features: Mapping[str, torch.Tensor], boxes: list[Boxes]) -> torch.Tensor:
        """Predict normalised regions, (R, S * S, p * p * 3), of the backbone's maps."""
        rois = self.box_pooler([features[name] for name in self.box_in_features], boxes)
        return self.decode(rois)

    def decode(self, rois: torch.Tensor) -> torch.Tensor:
        """Predict normalised regions of RoI features (R, D, S, S)."""
        return self.prediction(self.decoder.decoder_blocks(self.decoder.embed_rois(rois)))
