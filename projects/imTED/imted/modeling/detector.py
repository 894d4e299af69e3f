"""The detector: Detectron2's R-CNN that takes a MAE's weights itself."""

from collections import defaultdict
from typing import Any

import torch
from detectron2.modeling import GeneralizedRCNN
from detectron2.structures import Instances

from imted.errors import UserError

from .migration import is_mae, migrate, to_official_names
from .parts import parts_of


class ImTEDDetector(GeneralizedRCNN):
    """Detectron2's ``GeneralizedRCNN``, with the same arguments and parameter names.

    `load_state_dict` takes a MAE's weights too, in their official layout: encoder and decoder
    migrate as the ROI heads want them. So Detectron2's own trainer and checkpointer start from
    the MAE as train_net.py does.
    """

    def inference(
        self,
        batched_inputs: list[dict[str, Any]],
        detected_instances: list[Instances] | None = None,
        do_postprocess: bool = True,
    ) -> list[Any]:
        """Detect as Detectron2's ``GeneralizedRCNN`` does, in images of one size together.

        Images of several sizes would be padded to the largest, which the encoder's global
        attention sees: what is found in an image would depend on the others of its batch.
        """
        by_size: dict[torch.Size, list[int]] = defaultdict(list)
        for place, item in enumerate(batched_inputs):
            by_size[item["image"].shape].append(place)
        results: dict[int, Any] = {}
        for places in by_size.values():
            inputs = [batched_inputs[place] for place in places]
            given = detected_instances and [detected_instances[place] for place in places]
            found = super().inference(inputs, given, do_postprocess=False)
            for instances in found:
                if instances.has("pred_masks"):
                    # Else they are pasted at places that are rounded to their precision.
                    instances.pred_masks = instances.pred_masks.float()
            if do_postprocess:
                sizes = [instances.image_size for instances in found]
                found = self._postprocess(found, inputs, sizes)
            results.update(zip(places, found, strict=True))
        return [results[place] for place in range(len(batched_inputs))]

    def _load_from_state_dict(
        self, state_dict: dict[str, torch.Tensor], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """Migrate a MAE's weights in place, before torch hands `state_dict` to the submodules."""
        own = {k.removeprefix(prefix): v for k, v in state_dict.items() if k.startswith(prefix)}
        weights = to_official_names(own)
        if is_mae(weights):
            migrated = migrate(self, weights, "The MAE checkpoint")
            for key in own:
                del state_dict[prefix + key]
            state_dict.update({prefix + name: v for name, v in migrated.values.items()})
        else:
            self._check_classes(weights)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def _check_classes(self, weights: dict[str, torch.Tensor]) -> None:
        """Refuse a detector's weights without class scores of this model's size.

        Detectron2's checkpointer takes tensors of another shape away with a warning; such a model
        would find nothing.
        """
        predictor = parts_of(self).box_predictor
        if not predictor or not any(key.startswith("roi_heads.") for key in weights):
            return
        key = f"{predictor}.cls_score.weight"
        classes = self.roi_heads.num_classes
        if key not in weights or len(weights[key]) != classes + 1:
            raise UserError(
                f"The weights have no {key!r} for this model's {classes} classes: they are of "
                "other classes. Build the model with num_classes as theirs, or load the file by "
                "imted.checkpoint.load_checkpoint(model, path, fine_tune=True), which starts the "
                "class layers anew."
            )
