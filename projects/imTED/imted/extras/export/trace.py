"""A detector as a function of one image's pixels, which can be traced.

Shapes: an image (3, H, W), float32, values in [0, 255], in the description's order of channels;
N detections. Outputs, in this order: boxes (N, 4) XYXY in pixels of (H, W), classes (N), mask
probabilities (N, 1, 28, 28) of a detector of masks, scores (N), and H, W.
"""

from typing import Any

import torch
from detectron2.export import TracingAdapter
from detectron2.modeling import GeneralizedRCNN
from detectron2.modeling.backbone.vit import ViT
from torch import nn

from imted.errors import UserError

BOXES, CLASSES, MASKS, SCORES, SIZE = "boxes", "classes", "masks", "scores", "size"


def traceable(model: nn.Module, image: torch.Tensor) -> TracingAdapter:
    """Wrap a detector for tracing, and check that the image lets all of it be traced.

    Raises:
        UserError: The model is no R-CNN of Detectron2's kind, finds nothing in the image, or has
            windows whose places depend on its size.
    """
    if not isinstance(model, GeneralizedRCNN):
        raise UserError(f"A {type(model).__name__} can't be exported; only detectors can.")
    windowed = any(isinstance(module, ViT) for module in model.modules())
    if windowed and not model.backbone.padding_constraints.get("square_size"):
        raise UserError(
            "The windows of a windowed encoder are traced for images of one size: let all of them "
            "be padded to it by --opts model.backbone.square_pad=1024, or the longest side there "
            "is, and compare the AP (--run-eval)."
        )
    # The exporters take the adapter's mode, not the model's.
    adapter = TracingAdapter(model, [{"image": image}], _infer).eval()
    with torch.no_grad():
        found = adapter(image)
    if not len(found[0]):
        raise UserError(
            "The detector finds nothing in the example image, so what follows a detection can't "
            "be traced; give another image (--sample-image)."
        )
    return adapter


def output_names(masks: bool) -> list[str]:
    """Name the outputs in their order, which is Detectron2's: fields by name, then the size."""
    return [BOXES, CLASSES, *([MASKS] if masks else []), SCORES, SIZE]


def _infer(model: GeneralizedRCNN, inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Detect without pasting masks into the image, which is done outside."""
    return [{"instances": model.inference(inputs, do_postprocess=False)[0]}]
