"""The evaluation of configs/voc on a folder of three images, through the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

pytestmark = pytest.mark.slow

CONFIG = """
from detectron2.config import LazyCall as L
from detectron2.config import LazyConfig
from toy_voc import Oracle

voc = LazyConfig.load("configs/voc/imted_faster_rcnn_vit_base.py")
dataloader, optimizer, lr_multiplier = voc.dataloader, voc.optimizer, voc.lr_multiplier
train = voc.train
model = L(Oracle)()
"""
# VOC counts pixels from 1 and includes the last: (11, 11, 60, 60) is 50 pixels wide.
OBJECTS = {
    "000001": [("cat", 0, (11, 11, 60, 60)), ("dog", 1, (61, 61, 90, 90))],  # difficult: ignored
    "000002": [("cat", 0, (21, 31, 90, 80))],
    "000003": [("dog", 0, (11, 11, 110, 60)), ("bird", 0, (1, 61, 30, 90))],
}


def write_voc(root: Path):
    for folder in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (root / folder).mkdir(parents=True)
    (root / "ImageSets/Main/test.txt").write_text("\n".join(OBJECTS))
    for name, objects in OBJECTS.items():
        Image.fromarray(np.zeros((100, 120, 3), np.uint8)).save(root / f"JPEGImages/{name}.jpg")
        text = "".join(
            f"<object><name>{cls}</name><pose>Left</pose><truncated>0</truncated>"
            f"<difficult>{difficult}</difficult><bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin>"
            f"<xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
            for cls, difficult, (x0, y0, x1, y1) in objects
        )
        size = "<size><width>120</width><height>100</height><depth>3</depth></size>"
        path = root / f"Annotations/{name}.xml"
        path.write_text(f"<annotation>{size}{text}</annotation>")


def test_results_of_a_detector_that_is_known(new_python, tmp_path, monkeypatch):
    write_voc(tmp_path / "VOC2007")
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    config, weights, output = tmp_path / "voc.py", tmp_path / "oracle.pth", tmp_path / "output"
    config.write_text(CONFIG)
    torch.save({"model": {"weight": torch.zeros(1)}}, weights)
    arguments = ["--config-file", config, "--eval-only", f"train.init_checkpoint={weights}"]
    arguments += [f"train.output_dir={output}", "train.device=cpu", "train.amp.enabled=false"]
    # Detectron2 looks for the variable when it is imported.
    done = new_python("train_net.py", *arguments, "dataloader.test.num_workers=0")
    assert done.returncode == 0, done.stderr
    results = json.loads((output / "eval/results.json").read_text())
    # Cat: one wrong detection, then both objects; at every recall the best precision is 2/3.
    # Dog: IoU 0.72, found at 5 of the 10 thresholds. Bird: not found. All others: no objects, 0.
    cat, dog = 200 / 3, 100
    expected = {"AP": cat + dog / 2, "AP50": cat + dog, "AP75": cat}
    assert results == {"bbox": {k: pytest.approx(v / 20) for k, v in expected.items()}}
