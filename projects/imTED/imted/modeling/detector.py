"""The detector: Detectron2's R-CNN that knows its parts and takes a MAE's weights itself."""

from typing import Any

import torch
from detectron2.modeling import GeneralizedRCNN

from imted.errors import UserError

from .migration import is_mae, migration_sources, take_values, to_official_names
from .parts import ModelParts
from .roi_heads import ImTEDROIHeads


class ImTEDDetector(GeneralizedRCNN):
    """Detectron2's ``GeneralizedRCNN``, with the same arguments and parameter names.

    `load_state_dict` takes a MAE's weights too, in their official layout: encoder and decoder
    migrate as the ROI heads want them. So Detectron2's own trainer and checkpointer start from
    the MAE as train_net.py does.
    """

    roi_heads: ImTEDROIHeads

    @property
    def parts(self) -> ModelParts:
        """Where the encoder, the decoder head and the layers of classes are."""
        return self.roi_heads.parts

    def _load_from_state_dict(
        self, state_dict: dict[str, torch.Tensor], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """Migrate a MAE's weights in place, before torch hands `state_dict` to the submodules."""
        own = {k.removeprefix(prefix): v for k, v in state_dict.items() if k.startswith(prefix)}
        weights = to_official_names(own)
        if is_mae(weights):
            state, source = self.state_dict(), "The MAE checkpoint"
            sources = migration_sources(state, weights, self.parts, source)
            values, _ = take_values(state, weights, sources, source)
            for key in own:
                del state_dict[prefix + key]
            state_dict.update({prefix + name: value for name, value in values.items()})
        else:
            self._check_classes(weights)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def _check_classes(self, weights: dict[str, torch.Tensor]) -> None:
        """Refuse a detector's weights without class scores of this model's size.

        Detectron2's checkpointer takes tensors of another shape away with a warning; such a model
        would find nothing.
        """
        scores = self.parts.class_scores
        if scores is None or not any(key.startswith("roi_heads.") for key in weights):
            return
        key = f"{scores.name}.weight"
        classes = self.roi_heads.num_classes
        if key not in weights or len(weights[key]) != classes + 1:
            raise UserError(
                f"The weights have no {key!r} for this model's {classes} classes: they are of "
                "other classes. Build the model with theirs (model.roi_heads.num_classes), or "
                "name the file as train.init_checkpoint of train_net.py, which starts the class "
                "layers anew."
            )
