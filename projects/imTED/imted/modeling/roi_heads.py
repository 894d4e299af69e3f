"""ROI heads that host the MAE decoder, and the paper's variants from Faster R-CNN to imTED."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.roi_heads import (
    FastRCNNConvFCHead,
    FastRCNNOutputLayers,
    StandardROIHeads,
)
from detectron2.structures import Instances
from torch import nn

from imted.errors import UserError

from .decoder import DecoderBoxHead
from .modulated_pooler import ModulatedPooler


@dataclass(frozen=True)
class Variant:
    """One step from a plain detector to imTED.

    Attributes:
        reads: What the box head reads: "pyramid", "encoder" or "both", by the modulator.
        migrated: The parts of a MAE checkpoint that come into the box head. None of the decoder's
            means a decoder of the same shape, at random.
        decoder: Whether the box head is the MAE decoder or convolutions.
    """

    reads: str
    migrated: tuple[str, ...]
    decoder: bool = True


VARIANTS: dict[str, Variant] = {
    # Faster/Mask R-CNN on the pyramid with a random 4conv1fc head.
    "baseline": Variant("pyramid", migrated=(), decoder=False),
    # Fig. 2(a): the decoder reads the pyramid, whose channels its first layers do not fit.
    "decoder_head": Variant("pyramid", migrated=("decoder_pos_embed", "decoder_blocks")),
    # The same head, random: what pre-training is worth behind a pyramid.
    "random_decoder_head": Variant("pyramid", migrated=()),
    # Fig. 2(b): the decoder reads the encoder's feature and nothing else.
    "integral": Variant("encoder", migrated=DecoderBoxHead.migrated),
    # The same head, random; the norm belongs to the encoder.
    "random_integral": Variant("encoder", migrated=("norm",)),
    # Fig. 2(c): and the pyramid comes back through the modulator.
    "imted": Variant("both", migrated=DecoderBoxHead.migrated),
    # Table 1's control: imTED with a random decoder.
    "random_decoder": Variant("both", migrated=("norm",)),
}


class ImTEDROIHeads(StandardROIHeads):
    """Detectron2's standard ROI heads with imTED's box branch; masks read the pyramid as ever."""

    def __init__(
        self,
        *,
        variant: str = "imted",
        box_in_features: Sequence[str],
        box_pooler: nn.Module,
        box_head: nn.Module,
        box_predictor: FastRCNNOutputLayers,
        test_objectness_thresh: float = 0.0,
        **kwargs: object,
    ) -> None:
        """Take imTED's box branch, or what a variant leaves of it.

        Args:
            variant: A key of `VARIANTS`.
            box_in_features: Names of the pyramid's levels, fine to coarse, then of the encoder's
                feature.
            box_pooler: Reads these maps. A pooler of one's own serves the variant "imted" alone:
                the others are made of a `ModulatedPooler`'s two groups.
            box_head: Reads what the pooler gives, (R, channels, S, S). A head of one's own, such
                as Detectron2's convolutions, serves the variants "imted" and "integral".
            box_predictor: Detectron2's, of the head's output.
            test_objectness_thresh: Least probability of an object, by the RPN, of a proposal that
                the heads look at when they detect; the best is looked at in any case. The paper
                has no such limit, which is 0.
            **kwargs: See Detectron2's ``StandardROIHeads``.

        Raises:
            UserError: There is no such variant, or it can't be made of this pooler and head.
        """
        if variant not in VARIANTS:
            raise UserError(f"variant={variant!r} is not one of {', '.join(map(repr, VARIANTS))}.")
        spec, in_features = VARIANTS[variant], list(box_in_features)
        if isinstance(box_head, DecoderBoxHead):
            box_head.migrated = spec.migrated
        elif variant not in ("imted", "integral"):
            raise UserError(
                f"variant={variant!r} compares what the MAE decoder is worth, and box_head is a "
                f"{type(box_head).__name__}; with a head of your own choose 'imted' or 'integral'."
            )
        if spec.reads != "both":
            if not isinstance(box_pooler, ModulatedPooler):
                raise UserError(
                    f"variant={variant!r} takes a part of a ModulatedPooler, and box_pooler is a "
                    f"{type(box_pooler).__name__}; with a pooler of your own choose 'imted'."
                )
            if spec.reads == "encoder":
                in_features, box_pooler = in_features[-1:], box_pooler.encoder_pooler
            else:
                channels = box_pooler.pyramid_channels
                in_features, box_pooler = in_features[:-1], box_pooler.pyramid_pooler
                if not spec.decoder:
                    box_head = _conv_head(channels, box_pooler, box_predictor)
                elif isinstance(box_head, DecoderBoxHead):  # or it was refused
                    box_head.read(channels)
        super().__init__(
            box_in_features=in_features,
            box_pooler=box_pooler,
            box_head=box_head,
            box_predictor=box_predictor,
            **kwargs,
        )
        self.variant = variant
        self.test_objectness_thresh = test_objectness_thresh
        self._norm_map = not getattr(box_head, "norm_rois", True)
        if self._norm_map and spec.reads == "pyramid":
            raise UserError(
                f"norm_rois=False norms the encoder's map, which the box head of variant "
                f"{variant!r} doesn't read."
            )

    def box_maps(self, features: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return what the box pooler reads of the backbone's maps, by name and in its order."""
        maps = {name: features[name] for name in self.box_in_features}
        if self._norm_map:
            encoder_feature = self.box_in_features[-1]
            maps[encoder_feature] = self.box_head.norm_map(maps[encoder_feature])
        return maps

    def _forward_box(
        self, features: Mapping[str, torch.Tensor], proposals: list[Instances]
    ) -> dict[str, torch.Tensor] | list[Instances]:
        if self.test_objectness_thresh > 0 and not self.training:
            proposals = [self._likely(found) for found in proposals]
        return super()._forward_box(self.box_maps(features), proposals)

    def _likely(self, proposals: Instances) -> Instances:
        """Drop what the RPN takes for background: each RoI costs the decoder as much as another.

        The first, which is the RPN's best, stays: exported heads can't read none.
        """
        if not proposals.has("objectness_logits"):  # given by hand: all are meant
            return proposals
        likely = proposals.objectness_logits.sigmoid() >= self.test_objectness_thresh
        return proposals[torch.cat([torch.ones_like(likely[:1]), likely[1:]])]


def _conv_head(
    channels: int, pooler: ROIPooler, predictor: FastRCNNOutputLayers
) -> FastRCNNConvFCHead:
    """Build ViTDet's 4conv1fc head, as wide as the pyramid and as what the predictor reads."""
    height, width = pooler.output_size
    return FastRCNNConvFCHead(
        ShapeSpec(channels=channels, height=height, width=width),
        conv_dims=[channels] * 4,
        fc_dims=[predictor.cls_score.in_features],
        conv_norm="LN",
    )
