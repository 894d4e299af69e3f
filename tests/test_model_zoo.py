"""Configs and weights by name, in a checkout and in a wheel."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from detectron2.utils.file_io import PathManager
from paths import ROOT

import imted

IN_A_WHEEL = """
import imted
from detectron2.config import instantiate
from imted.checkpoint import load_checkpoint
for path in (imted.__file__, imted.model_zoo.get_config_file("quickstart.py")):
    assert path.startswith(FOLDER), path
cfg = imted.model_zoo.get_config("coco/imted_faster_rcnn_vit_large_3x.py")
assert cfg.model.backbone.net.depth == 24
cfg = imted.model_zoo.get_config("quickstart.py")
report = load_checkpoint(instantiate(cfg.model), cfg.train.init_checkpoint)
assert len(report.loaded) > 100

from imted.training.launcher import main
paths = [
    f"dataset.{split}_{what}={DATA}/{name}"
    for split in ("train", "val")
    for what, name in (("json", "val.json"), ("images", "images"))
]
small = [
    "dataloader.train.mapper.augmentations.1.short_edge_length=[64]",
    "dataloader.test.mapper.augmentations.0.short_edge_length=64",
    "train.validation_loss=false", "train.validation_images=0", "train.device=cpu",
    "dataloader.train.num_workers=0", "dataloader.test.num_workers=0",
]
config = "configs/custom/imted_mask_rcnn_vit_tiny.py"
words = ["train.max_iter=4", "train.eval_period=0", "train.output_dir=trained"]
assert main(["--config-file", config, *paths, *small, *words]) == 0
found = imted.Predictor("trained", device="cpu", threshold=0.0)(f"{DATA}/images/1.png")
assert len(found) and found.names[0] in ("ant", "bee", "cat")
"""


def test_configs_by_name():
    cfg = imted.model_zoo.get_config("coco/imted_mask_rcnn_vit_base_3x.py")
    assert cfg.model.backbone.net.embed_dim == 768
    path = Path(imted.model_zoo.get_config_file("quickstart.py"))
    assert path == ROOT / "configs/quickstart.py"


@pytest.mark.parametrize("name", ["nothing.py", "coco"])
def test_an_unknown_config(name):
    with pytest.raises(FileNotFoundError, match=name):
        imted.model_zoo.get_config(name)


def test_weights_by_name():
    path = PathManager.get_local_path("imted://weights/mae_vit_tiny_shapes.pth")
    assert Path(path) == ROOT / "projects/imTED/weights/mae_vit_tiny_shapes.pth"
    assert not PathManager.isfile("imted://weights/nothing.pth")


def test_a_model_by_its_config():
    model = imted.model_zoo.get("quickstart.py", device="cpu")
    assert model.roi_heads.num_classes == 6


@pytest.mark.slow
def test_a_wheel_carries_configs_weights_and_the_command(detector_run, tmp_path):
    """Which trains and predicts, from a folder that is no checkout."""
    command = [sys.executable, "-m", "pip", "wheel", str(ROOT), "--no-deps", "--quiet"]
    options = ["--no-build-isolation", "--wheel-dir", str(tmp_path)]
    subprocess.run([*command, *options], check=True, cwd=tmp_path, capture_output=True)
    (wheel,) = tmp_path.glob("imted-*.whl")
    folder = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(folder)
    package = ROOT / "projects/imTED/imted"
    modules = {path.relative_to(package) for path in package.rglob("*.py")}
    assert {path for path in modules if not (folder / "imted" / path).is_file()} == set()
    assert (folder / "imted/py.typed").is_file()
    entry = next(folder.glob("*.dist-info/entry_points.txt")).read_text()
    assert "imted = imted.training.launcher:main" in entry
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    detector_run()  # two images and their json
    code = f"FOLDER, DATA = {str(folder)!r}, {str(tmp_path)!r}\n{IN_A_WHEEL}"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    subprocess.run([sys.executable, "-c", code], check=True, cwd=elsewhere, env=environment)
    assert (elsewhere / "trained/model_final.pth").is_file()
