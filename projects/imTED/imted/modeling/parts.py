"""The parts of a model that others act on, found by their classes.

Checkpoints, optimizer and drawing ask here, so that a module's name is written once: where the
module is made.
"""

from dataclasses import dataclass

from detectron2.modeling.backbone.vit import SimpleFeaturePyramid, ViT
from detectron2.modeling.roi_heads import FastRCNNOutputLayers, MaskRCNNConvUpsampleHead
from torch import nn

from .encoder import MAEEncoder
from .modulated_pooler import ModulatedPooler
from .region_reconstruction import RegionPrediction

ENCODER = ("patch_embed", "cls_token", "pos_embed", "blocks")
"""The encoder's parts of a MAE checkpoint, by the first part of a parameter's name."""
PYRAMID, MODULATOR, REGIONS = "pyramid", "modulator", "regions"
"""What a MAE checkpoint has beside these where its regions were reconstructed, too."""


class ClassLogits(nn.Linear):
    """Logits of classes outside Detectron2's heads: (..., channels) to (..., classes)."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__(channels, num_classes)
        nn.init.normal_(self.weight, std=0.01)
        nn.init.zeros_(self.bias)


@dataclass(frozen=True)
class ModelParts:
    """The names of a model's parts; "" or an empty tuple for what it doesn't have.

    Attributes:
        encoder: The MAE encoder.
        decoder: The module that takes over the MAE's final norm and decoder, or parts of them.
        migrated: What it takes over (`imted.modeling.MAEDecoder.migrated`).
        pyramid: The feature pyramid, which holds the encoder.
        modulator: The pooler with the modulator's scale and projection.
        regions: What predicts the pixels of regions, in pre-training.
        box_predictor: Detectron2's layers of class logits and box deltas.
        class_modules: All modules whose parameters depend on the number of classes.
    """

    encoder: str = ""
    decoder: str = ""
    migrated: tuple[str, ...] = ()
    pyramid: str = ""
    modulator: str = ""
    regions: str = ""
    box_predictor: str = ""
    class_modules: tuple[str, ...] = ()

    @property
    def scale(self) -> str:
        """Name of the modulator's scale, "" without a modulator."""
        return self.modulator and f"{self.modulator}.scale"

    def in_encoder(self, name: str) -> str:
        """Return a parameter's name within the encoder, "" for one outside it."""
        return _within(name, self.encoder)

    def in_decoder(self, name: str) -> str:
        """Return a parameter's name within the decoder, "" for one outside it."""
        return _within(name, self.decoder)

    def of_classes(self, name: str) -> bool:
        """Tell whether a parameter's shape depends on the number of classes."""
        return any(_within(name, module) for module in self.class_modules)

    def mae_key(self, name: str) -> str:
        """Return the key in a MAE checkpoint that a parameter migrates from, "" for none."""
        for key, parts in (
            (self.in_encoder(name), ENCODER),
            (self.in_decoder(name), self.migrated),
        ):
            # Relative positions are windowed encoders' alone.
            if key.split(".")[0] in parts and "rel_pos" not in key:
                return key
        for part, module in (
            (PYRAMID, "" if self.in_encoder(name) else self.pyramid),
            (MODULATOR, self.modulator),
            (REGIONS, self.regions),
        ):
            if key := _within(name, module):
                return f"{part}.{key}"
        return ""


def parts_of(model: nn.Module) -> ModelParts:
    """Find the parts of any model, ours or Detectron2's.

    Args:
        model: The model itself, not its DDP wrapper.
    """
    modules = dict(model.named_modules())

    def names(*kinds: type[nn.Module]) -> list[str]:
        return [name for name, module in modules.items() if isinstance(module, kinds)]

    def first(*kinds: type[nn.Module]) -> str:
        return next(iter(names(*kinds)), "")

    decoder = next((name for name, module in modules.items() if hasattr(module, "migrated")), "")
    masks = [f"{name}.predictor" for name in names(MaskRCNNConvUpsampleHead)]
    return ModelParts(
        encoder=first(MAEEncoder, ViT),
        decoder=decoder,
        migrated=modules[decoder].migrated if decoder else (),
        pyramid=first(SimpleFeaturePyramid),
        modulator=first(ModulatedPooler),
        regions=first(RegionPrediction),
        box_predictor=first(FastRCNNOutputLayers),
        class_modules=(*names(FastRCNNOutputLayers, ClassLogits), *masks),
    )


def _within(name: str, module: str) -> str:
    prefix = f"{module}."
    return name.removeprefix(prefix) if module and name.startswith(prefix) else ""
