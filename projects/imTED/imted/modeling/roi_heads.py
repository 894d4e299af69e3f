"""ROI heads that host the MAE decoder, and the paper's variants from Faster R-CNN to imTED."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling.roi_heads import (
    FastRCNNConvFCHead,
    FastRCNNOutputLayers,
    StandardROIHeads,
)
from detectron2.structures import Instances

from imted.errors import UserError

from .decoder import DecoderBoxHead
from .modulated_pooler import ModulatedPooler
from .parts import DECODER, DETECTOR_PARTS, ModelParts
from .roi_pooler import ROIPooler


@dataclass(frozen=True)
class Variant:
    """One step from a plain detector to imTED.

    Attributes:
        box_features: What the box head reads: "pyramid", "encoder" or "modulated" (both).
        migrated: Parts of the box head that must come from a MAE checkpoint. An empty tuple
            together with `decoder_head` means a decoder of the same shape, at random.
        decoder_head: Whether the box head is the MAE decoder or convolutions.
    """

    box_features: str
    migrated: tuple[str, ...]
    decoder_head: bool = True


VARIANTS: dict[str, Variant] = {
    # Faster/Mask R-CNN on the pyramid with a random 4conv1fc head.
    "baseline": Variant("pyramid", migrated=(), decoder_head=False),
    # Fig. 2(a): the decoder reads the pyramid, whose channels its first layers do not fit.
    "decoder_head": Variant("pyramid", migrated=("decoder_pos_embed", "decoder_blocks")),
    # The same head, random: what pre-training is worth behind a pyramid.
    "random_decoder_head": Variant("pyramid", migrated=()),
    # Fig. 2(b): the decoder reads the encoder's feature and nothing else.
    "integral": Variant("encoder", migrated=DECODER),
    # The same head, random; the norm belongs to the encoder.
    "random_integral": Variant("encoder", migrated=("norm",)),
    # Fig. 2(c): and the pyramid comes back through the modulator.
    "imted": Variant("modulated", migrated=DECODER),
    # Table 1's control: imTED with a random decoder.
    "random_decoder": Variant("modulated", migrated=("norm",)),
}


class ImTEDROIHeads(StandardROIHeads):
    """Detectron2's standard ROI heads with imTED's box branch; masks read the pyramid as ever."""

    def __init__(
        self,
        *,
        variant: str = "imted",
        encoder_dim: int,
        decoder: Mapping[str, Any],
        modulator: Mapping[str, Any] | None = None,
        encoder_feature: str = "last_feat",
        encoder_stride: int = 16,
        pyramid_features: Sequence[str] = ("p2", "p3", "p4", "p5"),
        pyramid_strides: Sequence[int] = (4, 8, 16, 32),
        pyramid_channels: int = 256,
        box_resolution: int = 7,
        canonical_box_size: int = 224,
        box_predictor: FastRCNNOutputLayers,
        **kwargs: Any,
    ) -> None:
        """Build the modules.

        Args:
            variant: Which variant of the paper to build, a key of :data:`VARIANTS`.
            encoder_dim: Channels of the encoder feature.
            decoder: Arguments of :class:`DecoderBoxHead` except `encoder_dim`.
            modulator: The options of :class:`ModulatedPooler`: how its scale starts and what it is
                for, and where its projection stands.
            encoder_feature: Name of the encoder feature among the backbone's outputs.
            encoder_stride: Its stride in pixels.
            pyramid_features: Names of the pyramid levels that boxes are pooled from.
            pyramid_strides: Their strides in pixels.
            pyramid_channels: Channels of the pyramid.
            box_resolution: Side of the pooled RoI, in positions.
            canonical_box_size: Side in pixels of a box that is pooled at stride 16.
            box_predictor: Detectron2's box predictor; its input is the decoder's `dim`.
            **kwargs: See Detectron2's ``StandardROIHeads``.

        Raises:
            UserError: If `variant` is not a key of :data:`VARIANTS`, or the decoder is to read a
                normed map of the encoder's and the variant doesn't read the encoder.
        """
        if variant not in VARIANTS:
            raise UserError(
                f"model.roi_heads.variant={variant!r} is not one of "
                f"{', '.join(map(repr, VARIANTS))}."
            )
        spec = VARIANTS[variant]
        reads_encoder = spec.box_features != "pyramid"
        if not (reads_encoder or decoder.get("norm_rois", True)):
            raise UserError(
                f"model.roi_heads.decoder.norm_rois=false norms the encoder's map, which the box "
                f"head of model.roi_heads.variant={variant!r} doesn't read."
            )
        encoder_pooler = _roi_align(box_resolution, [encoder_stride], canonical_box_size)
        pyramid_pooler = _roi_align(box_resolution, pyramid_strides, canonical_box_size)
        pyramid_features = list(pyramid_features)
        if spec.box_features == "modulated":
            in_features = [*pyramid_features, encoder_feature]
            pooler = ModulatedPooler(
                encoder_pooler=encoder_pooler,
                pyramid_pooler=pyramid_pooler,
                encoder_dim=encoder_dim,
                pyramid_channels=pyramid_channels,
                **(modulator or {}),
            )
        elif spec.box_features == "encoder":
            in_features, pooler = [encoder_feature], encoder_pooler
        else:
            in_features, pooler = pyramid_features, pyramid_pooler

        in_channels = encoder_dim if reads_encoder else pyramid_channels
        if spec.decoder_head:
            box_head = DecoderBoxHead(encoder_dim=in_channels, **decoder)
        else:
            box_head = FastRCNNConvFCHead(
                ShapeSpec(channels=in_channels, height=box_resolution, width=box_resolution),
                conv_dims=[pyramid_channels] * 4,
                fc_dims=[box_predictor.cls_score.in_features],
                conv_norm="LN",
            )
        super().__init__(
            box_in_features=in_features,
            box_pooler=pooler,
            box_head=box_head,
            box_predictor=box_predictor,
            **kwargs,
        )
        self.variant = variant
        self._norm_map = encoder_feature if reads_encoder and not box_head.norm_rois else ""

    def box_maps(self, features: Mapping[str, torch.Tensor]) -> list[torch.Tensor]:
        """What the box pooler reads of the backbone's maps {name: (N, ., h, w)}, in its order."""
        if self._norm_map:
            encoder_feature = self.box_head.norm_map(features[self._norm_map])
            features = {**features, self._norm_map: encoder_feature}
        return [features[name] for name in self.box_in_features]

    def _forward_box(
        self, features: Mapping[str, torch.Tensor], proposals: list[Instances]
    ) -> dict[str, torch.Tensor] | list[Instances]:
        read = dict(zip(self.box_in_features, self.box_maps(features), strict=True))
        return super()._forward_box(read, proposals)

    @property
    def parts(self) -> ModelParts:
        """Where a detector with these heads has its parts, and what of a MAE comes there."""
        spec = VARIANTS[self.variant]
        return replace(
            DETECTOR_PARTS,
            decoder_head=DETECTOR_PARTS.decoder_head if spec.decoder_head else "",
            modulator=DETECTOR_PARTS.modulator if spec.box_features == "modulated" else "",
            class_masks=DETECTOR_PARTS.class_masks if self.mask_on else None,
            migrated=spec.migrated,
            choice=f"variant {self.variant!r}",
            without_decoder="model.roi_heads.variant=random_decoder",
        )


def _roi_align(resolution: int, strides: Sequence[int], canonical_box_size: int) -> ROIPooler:
    return ROIPooler(
        output_size=resolution,
        scales=[1.0 / stride for stride in strides],
        sampling_ratio=0,
        canonical_box_size=canonical_box_size,
    )
