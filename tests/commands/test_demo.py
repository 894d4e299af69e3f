import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from paths import ROOT
from PIL import Image
from pycocotools.coco import COCO

from imted.errors import UserError
from imted.extras.demo import video
from imted.outputs import write_picture
from imted.predict import Predictor

SHARED = Path(os.environ.get("IMTED_SHARED_DATA", ROOT.parent / "shared/data"))
PORTRAIT = SHARED / "reports/video/portrait.mp4"


@pytest.fixture
def demo(load_script, detector_run, tmp_path):
    """Run the demo on a small detector; return its exit status."""
    folder = detector_run()
    main = load_script("demo/demo.py").main

    def run(*args, config=folder / "config.yaml", threshold="0"):
        options = ["--config-file", config, "--confidence-threshold", threshold]
        return main([str(arg) for arg in (*options, *args)])

    return run


def film(folder, frames):
    """Write a video of noise; return its path."""
    path, noise = str(folder / "film.avi"), np.random.default_rng(0)
    writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"MJPG"), 5.0, (96, 64))
    for _ in range(frames):
        writer.write(noise.integers(256, size=(64, 96, 3), dtype=np.uint8))
    writer.release()
    return path


def write_at_most(monkeypatch, frames, error=None):
    """Let a video be written as far as so many frames: then in silence none, or with an error."""

    class Writer:
        def __init__(self, *args):
            self.writer, self.left = open_writer(*args), frames
            self.release = self.writer.release

        def write(self, picture):
            if self.left:
                self.writer.write(picture)
                self.left -= 1
            elif error is not None:
                raise error

    open_writer = video._open_writer
    monkeypatch.setattr(video, "_open_writer", Writer)


def predictions(output):
    return json.loads((output / "predictions.json").read_text())


def test_a_folder(demo, tmp_path, capsys):
    output = tmp_path / "out"
    assert demo("--input", tmp_path / "images", "--output", output) == 0
    assert sorted(p.name for p in output.glob("[!.]*")) == ["1.jpg", "4.jpg", "predictions.json"]
    predictor = Predictor(str(tmp_path / "run"))
    expected = [
        {**result, "file_name": str(tmp_path / f"images/{name}.png")}
        for key, name in ((1, 1), (2, 4))
        for result in predictor(tmp_path / f"images/{name}.png").to_coco(key)
    ]
    assert predictions(output) == expected
    assert "detections in 2 images" in capsys.readouterr().out
    assert Image.open(output / "1.jpg").size == (800, 600)  # enlarged, to read the labels


def test_the_ids_of_the_json_make_it_a_result_of_coco(demo, tmp_path):
    output, truth = tmp_path / "out", tmp_path / "val.json"
    assert demo("--input", tmp_path / "images", "--output", output, "--image-ids", truth) == 0
    found = predictions(output)
    assert {result["image_id"] for result in found} == {1, 4}
    assert len(COCO(str(truth)).loadRes(found).anns) == len(found)


def test_a_broken_file_is_one_line_and_the_rest_goes_on(demo, tmp_path, capsys):
    (tmp_path / "images/2.png").write_text("no image")
    output = tmp_path / "out"
    assert demo("--input", tmp_path / "images", "--output", output) == 1
    error = capsys.readouterr().err
    assert error.count("2.png can't be read as an image") == 1
    assert "error: 1 of 3 files could not be read" in error
    assert {result["image_id"] for result in predictions(output)} == {1, 3}
    assert sorted(p.stem for p in output.glob("*.jpg")) == ["1", "4"]


def test_overrides_and_the_run_s_folder(demo, tmp_path):
    output = tmp_path / "out"
    key = "model.roi_heads.box_predictor.test_topk_per_image=2"
    images = tmp_path / "images/*.png"
    assert demo("--input", images, "--output", output, "--opts", key, config=tmp_path / "run") == 0
    assert len(predictions(output)) == 4


@pytest.mark.slow
def test_processes_share_the_images(demo, shell, tmp_path):
    images, one, two = tmp_path / "images", tmp_path / "one", tmp_path / "two"
    assert demo("--input", images, "--output", one) == 0
    done = shell(
        *("demo/demo.py", "--config-file", tmp_path / "run/config.yaml", "--input", images),
        *("--output", two, "--num-gpus", 2, "--confidence-threshold", 0),
    )
    assert done.returncode == 0, done.stderr
    assert predictions(two) == predictions(one)
    assert sorted(p.name for p in two.iterdir()) == sorted(p.name for p in one.iterdir())


def test_a_video(demo, tmp_path, capsys):
    path = film(tmp_path, 3)
    assert demo("--video-input", path, "--output", tmp_path / "out", threshold="0.4") == 0
    written = cv2.VideoCapture(str(tmp_path / "out/film.mp4"))
    assert written.get(cv2.CAP_PROP_FPS) == 5
    shapes = [written.read()[1].shape for _ in range(3)]
    assert shapes == [(64, 96, 3)] * 3 and not written.read()[0]
    assert str(tmp_path / "out/film.mp4") in capsys.readouterr().out


@pytest.mark.skipif(not PORTRAIT.is_file(), reason=f"needs {PORTRAIT}")
def test_a_phones_video_stands_upright(demo, tmp_path):
    assert demo("--video-input", PORTRAIT, "--output", tmp_path / "out", threshold="0.4") == 0
    written = cv2.VideoCapture(str(tmp_path / "out/portrait.mp4"))
    assert written.read()[1].shape == (96, 64, 3)


def test_a_video_that_is_not_whole_is_said(demo, tmp_path, capsys, monkeypatch):
    path = film(tmp_path, 3)
    write_at_most(monkeypatch, 1)
    assert demo("--video-input", path, "--output", tmp_path / "out", threshold="0.4") == 1
    assert "has not all of 3 frames" in capsys.readouterr().err
    assert not list((tmp_path / "out").iterdir())


def test_ctrl_c_leaves_a_video_of_what_was_done(demo, tmp_path, capsys, monkeypatch):
    path = film(tmp_path, 5)
    write_at_most(monkeypatch, 2, KeyboardInterrupt)
    assert demo("--video-input", path, "--output", tmp_path / "out", threshold="0.4") == 1
    assert "Interrupted after 2 frames" in capsys.readouterr().err
    assert cv2.VideoCapture(str(tmp_path / "out/film.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 2


def test_another_s_pictures_are_not_replaced(demo, tmp_path, capsys):
    """Whether they are in the output's folder by chance, or are the inputs."""
    output = tmp_path / "out"
    output.mkdir()
    (output / "4.jpg").write_text("mine")
    assert demo("--input", tmp_path / "images", "--output", output) == 1
    assert "4.jpg is there already" in capsys.readouterr().err
    assert [path.name for path in output.iterdir()] == ["4.jpg"]
    (output / "4.jpg").unlink()
    for _ in range(2):
        assert demo("--input", tmp_path / "images", "--output", output) == 0
    before = (output / "1.jpg").read_bytes()
    assert demo("--input", output / "*.jpg", "--output", output) == 1
    assert "1.jpg is what the command reads" in capsys.readouterr().err
    assert (output / "1.jpg").read_bytes() == before


def test_a_picture_that_cannot_be_written_loses_no_other(demo, tmp_path, capsys, monkeypatch):
    def write(pixels, path, **options):
        if path.stem == "4":
            raise UserError("4.jpg can't be written (No space left on device).")
        write_picture(pixels, path, **options)

    monkeypatch.setattr("imted.extras.demo.folder.write_picture", write)
    assert demo("--input", tmp_path / "images", "--output", tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert "error: 4.jpg can't be written (No space left on device), after 1 of 2 images" in error
    assert {result["image_id"] for result in predictions(tmp_path / "out")} == {1}


def test_the_longest_names(demo, tmp_path):
    name = "x" * 251
    for suffix in ("png", "jpg"):
        Image.open(tmp_path / "images/1.png").save(tmp_path / f"images/{name}.{suffix}")
    output = tmp_path / "out"
    assert demo("--input", tmp_path / f"images/{name}.png", "--output", output) == 0
    assert (output / f"{name}.jpg").is_file()
    assert demo("--input", tmp_path / "images/x*", "--output", output) == 0
    assert len(list(output.glob("*.jpg"))) == 3


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        ([], "Give one of --input, --video-input, --webcam"),
        (["--webcam", "--input", "a.jpg"], "Give one of"),
        (["--input", "absent.jpg", "--output", "out"], "absent.jpg (--input) doesn't exist"),
        (["--video-input", "absent.mp4"], "--video-input needs --output"),
        (["--video-input", "absent.mp4", "--output", "out"], "absent.mp4 (--video-input)"),
        (["--input", "{text}", "--output", "{tmp}/out"], "1 of 1 files could not be read"),
        (["--video-input", "{text}", "--output", "{tmp}/out"], "can't be opened as a video"),
        (["--video-input", "{text}", "--output", "{text}"], "is what the command reads"),
        (["--input", "{tmp}/images/1.png"], "needs windows"),
        (["--input", "{tmp}/images", "--output", "{tmp}/out", "--num-gpus", "0"], "at least 1"),
        (["--input", "{tmp}/images", "--image-ids", "no.json", "--output", "out"], "no.json"),
    ],
)
def test_one_sentence(demo, tmp_path, capfd, monkeypatch, args, sentence):
    monkeypatch.chdir(tmp_path)
    text = tmp_path / "text.mp4"
    text.write_text("no film")
    assert demo(*(arg.format(tmp=tmp_path, text=text) for arg in args)) == 1
    lines = capfd.readouterr().err.splitlines()
    assert lines[-1].startswith("error: ") and sentence in lines[-1]
    assert not any("Traceback" in line for line in lines)


def test_weights_are_needed(demo, capsys):
    config = "configs/coco/imted_mask_rcnn_vit_base_3x.py"
    weights = "train.init_checkpoint=no.pth"
    assert demo("--input", "README.md", "--output", "out", "--opts", weights, config=config) == 1
    assert "no.pth" in capsys.readouterr().err
