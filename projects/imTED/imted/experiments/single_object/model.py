"""One box and one label per image: what a pre-trained decoder adds to an encoder, at its simplest.

Shapes: N images, K classes, D encoder channels, C channels of the vector, h x w patches.
"""

from collections.abc import Mapping
from typing import Any

import torch
from detectron2.layers import ShapeSpec
from detectron2.structures import Boxes, Instances
from fvcore.nn import giou_loss
from torch import nn
from torch.nn.functional import cross_entropy, l1_loss
from torchvision.ops import box_convert

from imted.errors import UserError
from imted.modeling import ClassLogits, DecoderBoxHead, ImageModel, MAEEncoder
from imted.modeling.transformer_blocks import LayerNorm

# Variant -> the parts of its head that must come from a MAE checkpoint.
VARIANTS: dict[str, tuple[str, ...]] = {
    "encoder": ("norm",),
    "random_decoder": ("norm",),  # the norm belongs to the encoder
    "pretrained_decoder": DecoderBoxHead.migrated,
}


class EncoderBoxHead(nn.Module):
    """`DecoderBoxHead` without its decoder: the encoder's norm, the mean, a new norm."""

    def __init__(self, *, encoder_dim: int) -> None:
        """Make the two norms.

        Args:
            encoder_dim: Channels of the encoder's map (D), and of the vector.
        """
        super().__init__()
        self.norm = LayerNorm(encoder_dim)
        self.box_norm = LayerNorm(encoder_dim)

    @property
    def output_shape(self) -> ShapeSpec:
        """Shape of one image's vector."""
        return ShapeSpec(channels=self.norm.weight.numel())

    def forward(self, feature: torch.Tensor) -> torch.Tensor:
        """Turn maps (N, D, h, w) into one vector each, (N, D)."""
        return self.box_norm(self.norm(feature.flatten(2).transpose(1, 2)).mean(dim=1))


class SingleObjectLocalizer(ImageModel):
    """Predict one label and one box from the tokens of the whole image.

    Image -> encoder -> its final norm -> (variant) decoder -> mean over the tokens -> norm ->
    class logits, and a box (centre, width, height as parts of the image) through a sigmoid.
    The three variants differ in the decoder alone.
    """

    box_head: EncoderBoxHead | DecoderBoxHead

    def __init__(
        self,
        *,
        encoder: MAEEncoder,
        decoder: Mapping[str, Any],
        num_classes: int,
        pixel_mean: list[float],
        pixel_std: list[float],
        variant: str = "pretrained_decoder",
        l1_weight: float = 5.0,
        giou_weight: float = 2.0,
    ) -> None:
        """Build the variant's head and the two layers that predict.

        Args:
            encoder: Gives its last block's map under one name.
            decoder: Arguments of `DecoderBoxHead` except `encoder_dim`; the variant
                "encoder" has none.
            num_classes: K.
            pixel_mean: Mean of each channel (RGB), in [0, 255].
            pixel_std: Standard deviation of each channel.
            variant: A key of `VARIANTS`.
            l1_weight: Weight of the L1 distance between boxes, summed over their four numbers.
            giou_weight: Weight of the GIoU loss.

        Raises:
            UserError: If `variant` is not a key of `VARIANTS`.
        """
        super().__init__(pixel_mean, pixel_std)
        if variant not in VARIANTS:
            raise UserError(f"variant={variant!r} is not one of {', '.join(map(repr, VARIANTS))}.")
        # Named as in the detectors, so that train.frozen and tools have one name for it.
        self.backbone = nn.ModuleDict({"net": encoder})
        (self.feature,) = encoder.output_shape()
        encoder_dim = encoder.output_shape()[self.feature].channels
        if variant == "encoder":
            self.box_head = EncoderBoxHead(encoder_dim=encoder_dim)
        else:
            self.box_head = DecoderBoxHead(encoder_dim=encoder_dim, **decoder)
        self.box_head.migrated = VARIANTS[variant]
        channels = self.box_head.output_shape.channels
        self.class_logits = ClassLogits(channels, num_classes)
        self.box = nn.Linear(channels, 4)
        nn.init.normal_(self.box.weight, std=0.001)
        nn.init.zeros_(self.box.bias)
        self.variant = variant
        self.l1_weight = l1_weight
        self.giou_weight = giou_weight

    def predict(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Predict from normalised images (N, 3, H, W), sides multiples of the patch size.

        Returns:
            Class logits (N, K), and boxes (N, 4), cx, cy, w, h in [0, 1] of the image's sides.
        """
        vectors = self.box_head(self.backbone["net"](images)[self.feature])
        # In single precision under autocast too: neither is worth rounding.
        return self.class_logits(vectors).float(), self.box(vectors).float().sigmoid()

    def forward(self, batched_inputs: list[dict]) -> dict[str, torch.Tensor] | list[dict]:
        """Return losses in training, predictions otherwise.

        Args:
            batched_inputs: One dict per image with "image", (3, H, W), values in [0, 255], all of
                one size; in training "instances" with one of `gt_boxes` and `gt_classes`;
                otherwise "height" and "width", the size to give the box for.

        Returns:
            {"loss_cls", "loss_box_l1", "loss_box_giou"}, or one {"instances"} for each image: one
            `pred_boxes`, its `pred_classes` and the softmax in `scores`.
        """
        images = self.stack(batched_inputs)
        logits, boxes = self.predict(images)
        if not self.training:
            return self._instances(batched_inputs, logits, boxes)
        objects = Instances.cat([item["instances"].to(self.device) for item in batched_inputs])
        height, width = images.shape[-2:]
        truth = objects.gt_boxes.tensor / boxes.new_tensor([width, height, width, height])
        l1 = l1_loss(boxes, box_convert(truth, "xyxy", "cxcywh"), reduction="sum") / len(boxes)
        giou = giou_loss(box_convert(boxes, "cxcywh", "xyxy"), truth, reduction="mean")
        return {
            "loss_cls": cross_entropy(logits, objects.gt_classes),
            "loss_box_l1": self.l1_weight * l1,
            "loss_box_giou": self.giou_weight * giou,
        }

    @staticmethod
    def _instances(
        batched_inputs: list[dict], logits: torch.Tensor, boxes: torch.Tensor
    ) -> list[dict]:
        scores, classes = logits.softmax(dim=1).max(dim=1)
        corners = box_convert(boxes, "cxcywh", "xyxy")
        outputs = []
        for i, item in enumerate(batched_inputs):
            height, width = item["height"], item["width"]
            instances = Instances((height, width))
            instances.pred_boxes = Boxes(corners[i : i + 1])
            instances.pred_boxes.scale(width, height)
            instances.pred_boxes.clip((height, width))
            instances.scores, instances.pred_classes = scores[i : i + 1], classes[i : i + 1]
            outputs.append({"instances": instances})
        return outputs
