"""Write a detector as a file, and run the file as Detectron2 runs a model."""

import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.structures import Boxes, Instances

from imted.checkpoint import Description
from imted.errors import UserError
from imted.outputs import output_file
from imted.predict import LoadedDetector

from .trace import BOXES, CLASSES, MASKS, SCORES, SIZE, output_names, traceable

DESCRIPTION = "description.json"
"""The description's name in a TorchScript file; in an ONNX file it has no suffix."""
OPSET = 17
"""RoIAlign with half a pixel's offset came with 16."""
MIN_HALVED = 256
"""Numbers from which a weight is stored in half precision; smaller ones are not worth it."""

Run = Callable[[torch.Tensor], dict[str, torch.Tensor]]


def write_torchscript(loaded: LoadedDetector, image: torch.Tensor, path: str) -> None:
    """Trace a detector on an image with an object; the file takes images of any size."""
    adapter = traceable(loaded.model, image)
    with _quiet(), torch.no_grad():
        traced = torch.jit.trace(adapter, (image,), check_trace=False)
    extra = {DESCRIPTION: json.dumps(loaded.description.to_dict())}
    with output_file(path) as partial:
        torch.jit.save(traced, partial, _extra_files=extra)


def write_onnx(loaded: LoadedDetector, image: torch.Tensor, path: str, fp16: bool) -> None:
    """Write an ONNX file that takes images of any size, traced on one that has an object.

    With `fp16` weights are stored in half precision; onnxruntime computes with them in full.

    Raises:
        UserError: The package onnx isn't installed.
    """
    try:
        import onnx
    except ModuleNotFoundError as error:
        raise UserError(
            f"ONNX needs the package {error.name}; pip install onnx onnxruntime (docs/export.md)."
        ) from None
    adapter = traceable(loaded.model, image)
    names = output_names(loaded.description.masks)
    with output_file(path) as partial:
        with _quiet(), torch.no_grad():
            torch.onnx.export(
                adapter,
                (image,),
                partial,
                input_names=["image"],
                output_names=names,
                dynamic_axes={
                    "image": {1: "height", 2: "width"},
                    **{name: {0: "objects"} for name in names if name != SIZE},
                },
                opset_version=OPSET,
                dynamo=False,
            )
        model = onnx.load(partial)
        if fp16:
            _halve_weights(model)
        entry = model.metadata_props.add()
        entry.key, entry.value = "description", json.dumps(loaded.description.to_dict())
        onnx.save(model, partial)


def open_torchscript(path: str, device: torch.device) -> Run:
    """Load a TorchScript file as a function of an image."""
    extra = {DESCRIPTION: ""}
    module = torch.jit.load(path, map_location=device, _extra_files=extra)
    names = output_names(Description.from_dict(json.loads(extra[DESCRIPTION]), path).masks)

    def run(image: torch.Tensor) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            outputs = module(image.to(device))
        return dict(zip(names, outputs, strict=True))

    return run


def open_onnx(path: str) -> Run:
    """Load an ONNX file as a function of an image; it computes on as many threads as torch."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(
        path, options, providers=onnxruntime.get_available_providers()
    )
    names = [output.name for output in session.get_outputs()]

    def run(image: torch.Tensor) -> dict[str, torch.Tensor]:
        outputs = session.run(None, {"image": image.cpu().contiguous().numpy()})
        return {n: torch.from_numpy(np.asarray(v)) for n, v in zip(names, outputs, strict=True)}

    return run


class ExportedDetector:
    """An exported file with the interface of Detectron2's models, for its evaluation."""

    def __init__(self, run: Run) -> None:
        """Keep what runs the file."""
        self.run = run

    def __call__(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Instances]]:
        """Detect in each image by itself."""
        return [{"instances": self._detect(item)} for item in batched_inputs]

    def _detect(self, item: dict[str, Any]) -> Instances:
        image = item["image"].float()
        found = {name: value.cpu() for name, value in self.run(image).items()}
        instances = Instances(tuple(image.shape[1:]))
        instances.pred_boxes = Boxes(found[BOXES].float())
        instances.scores, instances.pred_classes = found[SCORES].float(), found[CLASSES]
        if MASKS in found:
            instances.pred_masks = found[MASKS].float()
        return detector_postprocess(instances, item["height"], item["width"])


def _halve_weights(model: Any) -> None:
    """Store an ONNX model's weights in half precision, in place; a cast makes them whole again.

    onnxruntime's own converter gives up at the branches of NMS. Its session casts the weights
    once, when it is opened.
    """
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.dtype != np.float32 or values.size < MIN_HALVED:
            continue
        name, halved = weight.name, values.astype(np.float16)
        weight.CopyFrom(numpy_helper.from_array(halved, f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]  # in the order of their use
    del model.graph.node[:]
    model.graph.node.extend(nodes)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporters' remarks on branches and on their own deprecation.

    Branches that depend on the image's size are taken care of in `imted.modeling`, and a test
    compares a trace with the model on other sizes.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
