import json

import pytest
import torch
from detectron2.config import LazyCall as L
from detectron2.config import instantiate
from fixtures.models import ENCODER, make_small

from imted.errors import UserError
from imted.extras.export.files import (
    ExportedDetector,
    open_onnx,
    open_torchscript,
    write_onnx,
    write_torchscript,
)
from imted.extras.export.trace import output_names, traceable
from imted.modeling import WindowedEncoder
from imted.predict import load_run

pytestmark = pytest.mark.slow

NAMES = output_names(masks=False)


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


def best_objectness(model, pixels):
    """Return the RPN's highest probability of an object in an image."""
    seen = []
    hook = model.proposal_generator.register_forward_hook(
        lambda module, args, output: seen.append(output[0][0].objectness_logits)
    )
    detect(model, pixels)
    hook.remove()
    return seen[0].sigmoid().max().item()


@pytest.mark.parametrize("onnx", [False, True])
def test_an_image_in_which_the_rpn_sees_nothing(loaded, tmp_path, onnx):
    images = [image(96, 64), torch.full((3, 96, 64), 255.0)]
    empty, full = sorted(images, key=lambda pixels: best_objectness(loaded.model, pixels))
    limits = [best_objectness(loaded.model, pixels) for pixels in (empty, full)]
    loaded.model.roi_heads.test_objectness_thresh = sum(limits) / 2
    path = str(tmp_path / ("model.onnx" if onnx else "model.ts"))
    if onnx:
        write_onnx(loaded, full, path, fp16=False)
        exported = ExportedDetector(open_onnx(path))
    else:
        write_torchscript(loaded, full, path)
        exported = ExportedDetector(open_torchscript(path, torch.device("cpu")))
    expected, found = detect(loaded.model, full), detect(exported, full)
    assert len(found) == len(expected) > 3  # the boxes of more than one RoI, of three classes
    torch.testing.assert_close(found.scores, expected.scores, rtol=0, atol=1e-5)
    assert len(detect(loaded.model, empty)) == len(detect(exported, empty)) <= 3


def test_the_files_say_what_they_are(loaded, tmp_path):
    write_torchscript(loaded, image(64, 64), str(tmp_path / "model.ts"))
    extra = {"description.json": ""}
    torch.jit.load(str(tmp_path / "model.ts"), _extra_files=extra)
    said = json.loads(extra["description.json"])
    assert said["classes"] == ["ant", "bee", "cat"] and said["category_ids"] == [2, 5, 7]
    assert [p.name for p in tmp_path.iterdir() if p.suffix == ".tmp"] == []


@pytest.mark.parametrize("example", [(96, 64), (64, 64)])
def test_onnx_is_the_model_at_every_size(loaded, tmp_path, example):
    pytest.importorskip("onnxruntime")
    path = str(tmp_path / "new/model.onnx")
    write_onnx(loaded, image(*example), path, fp16=False)
    exported = ExportedDetector(open_onnx(path))
    for height, width in ((96, 64), (64, 64), (64, 96), (128, 160), (90, 70)):
        pixels = image(height, width, seed=height)
        assert_same(detect(exported, pixels, 200, 100), detect(loaded.model, pixels, 200, 100))


@pytest.fixture(params=["released", "windowed"])
def other(request, small_released_config):
    """Build a model whose encoder is another; a windowed one pads its images to one size."""
    torch.manual_seed(0)
    if request.param == "released":
        cfg = small_released_config()
    else:
        cfg = make_small("imted_mask_rcnn.py", 3, masks=False)
        options = {key: ENCODER[key] for key in ("embed_dim", "depth", "num_heads")}
        cfg.backbone.net = L(WindowedEncoder)(
            **options,
            img_size=128,
            pretrain_img_size=64,
            window_size=3,
            window_block_indexes=[0, 1],
            use_rel_pos=True,
            out_feature="last_feat",
        )
        cfg.backbone.square_pad = 128
    cfg.roi_heads.box_predictor.test_score_thresh = 0.0
    model = instantiate(cfg).eval()
    with torch.no_grad():  # scores that differ
        model.roi_heads.box_predictor.cls_score.weight.normal_(std=0.3)
    return model


def test_other_encoders_are_traced_for_every_size(other):
    """The released positions have an offset, but on the grid of the pre-training, 64 pixels."""
    adapter = traceable(other, image(96, 64))
    traced = torch.jit.trace(adapter, (image(96, 64),), check_trace=False)
    exported = ExportedDetector(lambda pixels: dict(zip(NAMES, traced(pixels), strict=True)))
    for height, width in ((96, 64), (64, 64), (64, 96), (128, 112), (115, 90)):
        pixels = image(height, width, seed=height)
        assert_same(detect(exported, pixels), detect(other, pixels))


def test_windows_of_no_one_size_are_refused(other):
    if not other.backbone.padding_constraints["square_size"]:
        pytest.skip("no windows")
    other.backbone._square_pad = 0
    with pytest.raises(UserError, match=r"model\.backbone\.square_pad=1024"):
        traceable(other, image(96, 64))


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
