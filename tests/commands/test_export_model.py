import json
import re
import subprocess
import sys

import pytest
from paths import ROOT
from PIL import Image

from imted.predict import Predictor, load_run
from imted.training.evaluate import do_test


@pytest.fixture
def export(load_script):
    main = load_script("tools/export_model.py").main
    return lambda *args: main([str(arg) for arg in args])


@pytest.mark.slow
@pytest.mark.parametrize(("format_", "name"), [("torchscript", "model.ts"), ("onnx", "model.onnx")])
def test_an_exported_file_has_the_ap_of_the_run(
    export, detector_run, tmp_path, capsys, format_, name
):
    """Of images of two sizes."""
    if format_ == "onnx":
        pytest.importorskip("onnxruntime")
    folder = detector_run()
    loaded = load_run(str(folder))
    do_test(loaded.run.with_test_set(), loaded.model)
    capsys.readouterr()
    args = (folder, "--output", tmp_path / "exported", "--run-eval")
    assert export(*args, "--format", format_) == 0
    out = capsys.readouterr().out
    expected = json.loads((folder / "results.json").read_text())
    for task in ("bbox", "segm"):
        assert f"{task}: AP {expected[task]['AP']:.2f}, " in out and "(+0.00)" in out
    assert re.search(
        r"speed: \d+\.\d+ s an image, \d+\.\d+ s by the model itself \(\d+\.\d+ times", out
    )
    assert (tmp_path / "exported" / name).is_file()


@pytest.mark.slow
def test_the_small_script_finds_what_the_predictor_finds(export, detector_run, tmp_path):
    pytest.importorskip("onnxruntime")
    folder = detector_run()
    picture = tmp_path / "images/4.png"
    output = tmp_path / "exported"
    sample = ("--sample-image", picture)
    assert export(folder, "--format", "onnx", "--output", output, *sample) == 0
    script = (ROOT / "demo/onnx_inference.py").read_text()
    code = [line for line in script.splitlines() if line.strip() and not line.startswith("#")]
    assert len(code) <= 45 and "torch" not in script and "detectron2" not in script
    every = Predictor(str(folder))(picture)
    assert Image.open(picture).size == (100, 150)  # resized to 64 x 96
    threshold = (every.scores[4] + every.scores[5]).item() / 2
    changed = script.replace("THRESHOLD = 0.5", f"THRESHOLD = {threshold}")
    (tmp_path / "script.py").write_text(changed)
    command = [sys.executable, tmp_path / "script.py", output / "model.onnx", picture]
    done = subprocess.run(
        [*map(str, command), str(tmp_path / "masks.png")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 5
    assert done.stdout.startswith(f"{every.names[0]} {every.scores[0]:.2f}")
    first = done.stdout.splitlines()[0].partition("[")[2].strip("]")
    found = [float(number) for number in first.split()]
    assert found == pytest.approx(every.pred_boxes.tensor[0].tolist(), abs=0.2)
    assert Image.open(tmp_path / "masks.png").size == (100, 150)


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["absent"], "absent doesn't exist"),
        (["{run}", "--precision", "fp16"], "TorchScript has fp32 alone"),
        (["{run}", "--sample-image", "absent.png"], "can't be read as an image"),
    ],
)
def test_one_sentence(export, detector_run, tmp_path, capsys, args, sentence):
    run = detector_run()
    args = [arg.format(run=run) for arg in args]
    output = tmp_path / "exported"
    assert export(*args, "--format", "torchscript", "--output", output) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and sentence in error
    assert not output.exists()


def test_no_image_to_trace_with(export, detector_run, tmp_path, capsys):
    run = detector_run()
    key = "dataset.val_images=nowhere"
    assert export(run, "--format", "onnx", "--output", tmp_path, "--opts", key) == 1
    assert "give one with --sample-image" in capsys.readouterr().err
