"""What a model says of its own parts: where the MAE goes, and which layers belong to classes.

Checkpoints, optimizer, class extension and drawing read it here, so that a module's name is
written once, by the model that has the module.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from detectron2.modeling.backbone.vit import ViT
from detectron2.modeling.roi_heads import FastRCNNOutputLayers
from torch import nn

from .encoder import MAEEncoder

# The parts of a MAE checkpoint, by the first part of a parameter's name.
ENCODER = ("patch_embed", "cls_token", "pos_embed", "blocks")
DECODER = ("norm", "decoder_embed", "decoder_pos_embed", "decoder_blocks")
PIXELS = ("mask_token", "decoder_norm", "decoder_pred")


@dataclass(frozen=True)
class ClassLayer:
    """A layer whose rows belong to classes, and how its new rows start.

    Attributes:
        name: The module's name in the model.
        rows: Rows of each class.
        background: Whether the last class is the background.
        std: Standard deviation of new weights; new biases are zero.
    """

    name: str
    rows: int = 1
    background: bool = False
    std: float = 0.001


@dataclass(frozen=True)
class ModelParts:
    """Where a model has what others act on; "" or an empty tuple for what it doesn't have.

    Attributes:
        encoder: Name of the MAE encoder's module.
        decoder_head: Name of the module that hosts the MAE's final norm and decoder.
        modulator: Name of the module with the modulator's scale and projection.
        class_scores: Layer of the class logits.
        class_boxes: Layer of the box regressors.
        class_masks: Layer of the mask logits.
        class_modules: Names of all modules whose parameters depend on the number of classes.
        migrated: The parts of a MAE that must come into `decoder_head`.
        choice: What in the config decides that, for messages: "variant 'imted'".
        without_decoder: The override that chooses a random decoder, for messages.
    """

    encoder: str = ""
    decoder_head: str = ""
    modulator: str = ""
    class_scores: ClassLayer | None = None
    class_boxes: ClassLayer | None = None
    class_masks: ClassLayer | None = None
    class_modules: tuple[str, ...] = ()
    migrated: tuple[str, ...] = ()
    choice: str = "this model"
    without_decoder: str = ""

    @property
    def wants_decoder(self) -> bool:
        """Whether a MAE file without decoder blocks won't do."""
        return "decoder_blocks" in self.migrated

    @property
    def scale(self) -> str:
        """Name of the modulator's scale, "" without a modulator."""
        return self.modulator and f"{self.modulator}.scale"

    def in_encoder(self, name: str) -> str:
        """Return a parameter's name within the encoder, "" for one outside it."""
        return _within(name, self.encoder)

    def in_decoder_head(self, name: str) -> str:
        """Return a parameter's name within the decoder head, "" for one outside it."""
        return _within(name, self.decoder_head)

    def of_classes(self, name: str) -> bool:
        """Tell whether a parameter's shape depends on the number of classes."""
        return any(_within(name, module) for module in self.class_modules)

    def mae_key(self, name: str) -> str:
        """Return the key in a MAE checkpoint that a parameter migrates from, "" for none."""
        for key, parts in (
            (self.in_encoder(name), ENCODER),
            (self.in_decoder_head(name), self.migrated),
        ):
            # Relative positions are windowed encoders' alone.
            if key.split(".")[0] in parts and "rel_pos" not in key:
                return key
        return ""


DETECTOR_PARTS = ModelParts(
    encoder="backbone.net",
    decoder_head="roi_heads.box_head",
    modulator="roi_heads.box_pooler",
    class_scores=ClassLayer("roi_heads.box_predictor.cls_score", background=True, std=0.01),
    class_boxes=ClassLayer("roi_heads.box_predictor.bbox_pred", rows=4),
    class_masks=ClassLayer("roi_heads.mask_head.predictor"),
    class_modules=("roi_heads.box_predictor", "roi_heads.mask_head.predictor"),
)
"""The names in Detectron2's `GeneralizedRCNN` on a `SimpleFeaturePyramid`, and in imTED."""


def parts_of(model: nn.Module) -> ModelParts:
    """Return a model's own parts; of Detectron2's models, those that are found by their class.

    Args:
        model: Any model; not wrapped in DDP.
    """
    if hasattr(model, "parts"):
        return cast(ModelParts, model.parts)
    predictors = _names(model, FastRCNNOutputLayers)
    masks = [f"{name}.predictor" for name in _names(model, nn.Module) if name.endswith("mask_head")]
    return ModelParts(
        encoder=next(_names(model, MAEEncoder, ViT), ""),
        class_modules=(*predictors, *masks),
        choice="Detectron2's box head",
    )


def _names(model: nn.Module, *kinds: type[nn.Module]) -> Iterator[str]:
    return (name for name, module in model.named_modules() if isinstance(module, kinds))


def _within(name: str, module: str) -> str:
    prefix = f"{module}."
    return name.removeprefix(prefix) if module and name.startswith(prefix) else ""
