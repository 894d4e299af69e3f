import json

import pytest
import torch

from imted.errors import UserError
from imted.extras.export.files import (
    ExportedDetector,
    open_onnx,
    open_torchscript,
    write_onnx,
    write_torchscript,
)
from imted.extras.export.trace import traceable
from imted.predict import load_run

pytestmark = pytest.mark.slow


def image(height, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (3, height, width), generator=generator).float()


@pytest.fixture(params=[True, False], ids=["masks", "boxes"])
def loaded(request, detector_run):
    return load_run(str(detector_run(masks=request.param)), device="cpu")


def detect(model, pixels, height=None, width=None):
    size = {"height": height or pixels.shape[1], "width": width or pixels.shape[2]}
    with torch.no_grad():
        return model([{"image": pixels, **size}])[0]["instances"]


def assert_same(found, expected, atol=1e-3):
    assert len(found) == len(expected) > 10
    torch.testing.assert_close(
        found.pred_boxes.tensor, expected.pred_boxes.tensor, rtol=0, atol=atol
    )
    torch.testing.assert_close(found.scores, expected.scores, rtol=0, atol=1e-5)
    assert torch.equal(found.pred_classes, expected.pred_classes)
    assert found.has("pred_masks") == expected.has("pred_masks")
    if found.has("pred_masks"):
        assert (found.pred_masks != expected.pred_masks).float().mean() < 1e-3


def test_a_trace_is_the_model_at_every_size(loaded, tmp_path):
    """The pre-training grid of the small model is 4 x 4: 64 pixels, among others."""
    path = str(tmp_path / "new/model.ts")
    write_torchscript(loaded, image(96, 64), path)
    exported = ExportedDetector(open_torchscript(path, torch.device("cpu")))
    for height, width in ((96, 64), (64, 64), (64, 96), (128, 160), (90, 70)):
        pixels = image(height, width, seed=height)
        assert_same(detect(exported, pixels, 200, 100), detect(loaded.model, pixels, 200, 100))


def test_a_trace_of_the_pretraining_size_is_the_model_at_others(loaded, tmp_path):
    path = str(tmp_path / "model.ts")
    write_torchscript(loaded, image(64, 64), path)
    exported = ExportedDetector(open_torchscript(path, torch.device("cpu")))
    assert_same(detect(exported, image(96, 128)), detect(loaded.model, image(96, 128)))


def test_the_files_say_what_they_are(loaded, tmp_path):
    write_torchscript(loaded, image(64, 64), str(tmp_path / "model.ts"))
    extra = {"description.json": ""}
    torch.jit.load(str(tmp_path / "model.ts"), _extra_files=extra)
    said = json.loads(extra["description.json"])
    assert said["classes"] == ["ant", "bee", "cat"] and said["category_ids"] == [2, 5, 7]
    assert [p.name for p in tmp_path.iterdir() if p.suffix == ".tmp"] == []


def test_onnx_is_the_model_at_its_size(loaded, tmp_path):
    pytest.importorskip("onnxruntime")
    path = str(tmp_path / "new/model.onnx")
    write_onnx(loaded, image(96, 64), path, fp16=False)
    exported = ExportedDetector(open_onnx(path))
    for seed in (0, 1):
        pixels = image(96, 64, seed)
        assert_same(detect(exported, pixels, 192, 128), detect(loaded.model, pixels, 192, 128))


def test_an_image_of_another_size_is_fitted_and_padded(loaded, tmp_path):
    pytest.importorskip("onnxruntime")
    path = str(tmp_path / "model.onnx")
    write_onnx(loaded, image(96, 64), path, fp16=False)
    pixels = image(70, 60)
    mean = torch.tensor(loaded.description.pixel_mean)[:, None, None].expand(3, 96, 64).clone()
    scale = 64 / 60
    size = [round(side * scale) for side in pixels.shape[1:]]
    resized = torch.nn.functional.interpolate(pixels[None], size, mode="bilinear", antialias=True)
    mean[:, : size[0], : size[1]] = resized[0]
    found = detect(ExportedDetector(open_onnx(path)), pixels)
    padded = detect(loaded.model, mean)
    best = padded.pred_boxes.tensor[0] / scale
    assert (found.pred_boxes.tensor - best).abs().amax(dim=1).min() < 0.5


def test_half_precision_is_near(loaded, tmp_path):
    pytest.importorskip("onnxruntime")
    for half in (False, True):
        write_onnx(loaded, image(96, 64), str(tmp_path / f"{half}.onnx"), fp16=half)
    stored = [bytes_of_floats(tmp_path / f"{half}.onnx") for half in (False, True)]
    assert stored[1] < 0.6 * stored[0]
    full, halved = (
        detect(ExportedDetector(open_onnx(str(tmp_path / f"{half}.onnx"))), image(96, 64))
        for half in (False, True)
    )
    assert halved.scores[:5] == pytest.approx(full.scores[:5].tolist(), abs=0.02)


def bytes_of_floats(path):
    import onnx

    weights = onnx.load(str(path)).graph.initializer
    return sum(onnx.numpy_helper.to_array(w).nbytes for w in weights)


def test_nothing_to_trace(loaded):
    loaded.model.roi_heads.box_predictor.test_score_thresh = 1.0
    with pytest.raises(UserError, match="finds nothing in the example image"):
        traceable(loaded.model, image(64, 64))
