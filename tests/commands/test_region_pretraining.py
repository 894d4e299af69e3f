"""From a folder of images to pyramid and modulator, pictures of regions, and a detector."""

import numpy as np
import pytest
import torch
from fixtures.models import CHANNELS, DECODER, ENCODER
from paths import ROOT
from PIL import Image
from safetensors.torch import load_file

from imted.config.load import load_config
from imted.config.saved import write_config
from synthetic.dataset import write_split
from synthetic.shapes import ShapesOptions

pytestmark = pytest.mark.slow

REGIONS = ROOT / "configs/pretrain/rois_vit_tiny.py"
DETECTOR = ROOT / "configs/custom/imted_faster_rcnn_vit_tiny.py"


def small(decoder: str) -> list[str]:
    """Return the overrides that make a config's model small."""
    sizes = {f"model.backbone.net.{key}": value for key, value in ENCODER.items()}
    sizes["model.backbone.out_channels"] = CHANNELS
    sizes |= {f"model.roi_heads.{decoder}.{key}": value for key, value in DECODER.items()}
    return [f"{key}={value}" for key, value in sizes.items()]


@pytest.fixture
def images(tmp_path):
    (tmp_path / "photos").mkdir()
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (80, 100, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"photos/{number}.png")
    return tmp_path / "photos"


@pytest.fixture
def pretrained(train_net, mae_file, images, tmp_path):
    """Pre-train for an iteration; return the run's folder."""
    overrides = [
        *small("decoder"),
        f"dataloader.train.dataset.images={images}",
        "dataloader.train.mapper.image_size=64",
        "dataloader.train.total_batch_size=2",
        "dataloader.train.num_workers=0",
        "model.proposal_generator.max_size=60",
        f"train.init_checkpoint={mae_file()[0]}",
        f"train.output_dir={tmp_path / 'regions'}",
        "train.max_iter=2",
    ]
    assert train_net("--config-file", REGIONS, *overrides) == 0
    return tmp_path / "regions"


def test_it_ends_in_a_mae_that_a_detector_takes_whole(pretrained, train_net, mae_file, tmp_path):
    found, mae = load_file(pretrained / "mae_final.safetensors"), mae_file()[1]
    assert all(torch.equal(found[key], value) for key, value in mae.items())  # frozen
    assert {key.split(".")[0] for key in found.keys() - mae.keys()} == {
        *("pyramid", "modulator", "regions")
    }
    truth = write_split(tmp_path, "val", 4, seed=0, options=ShapesOptions())
    data = [f"dataset.{split}_json={truth}" for split in ("train", "val")]
    data += [f"dataset.{split}_images={tmp_path / 'val'}" for split in ("train", "val")]
    start = f"train.init_checkpoint={pretrained / 'mae_final.safetensors'}"
    frozen = "train.frozen=[backbone,roi_heads.box_pooler]"
    words = (*small("box_head"), *data, start, frozen, "train.max_iter=1", "train.eval_period=0")
    words = (*words, "dataloader.train.num_workers=0", "dataloader.test.num_workers=0")
    assert train_net("--config-file", DETECTOR, *words, f"train.output_dir={tmp_path / 'run'}") == 0
    trained = torch.load(tmp_path / "run/model_final.pth", weights_only=True)["model"]
    taken = {"pyramid": "backbone", "modulator": "roi_heads.box_pooler"}
    names = {key: key.split(".", 1) for key in found if key.split(".")[0] in taken}
    assert len(names) > 20
    for key, (part, rest) in names.items():
        assert torch.equal(trained[f"{taken[part]}.{rest}"], found[key]), key


def test_pictures_of_regions(pretrained, load_script, images, tmp_path, capsys):
    tool = load_script("tools/region_pictures.py")
    words = [str(pretrained), "--images", str(images), "--output", str(tmp_path / "regions.png")]
    assert tool.main(words) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'regions.png'}\n"
    assert Image.open(tmp_path / "regions.png").size[0] == 1200


def test_a_run_without_regions_is_refused(load_script, images, tmp_path, capsys):
    cfg = load_config(str(ROOT / "configs/pretrain/mae_vit_tiny.py"))
    write_config(cfg, str(tmp_path / "config.yaml"))
    tool = load_script("tools/region_pictures.py")
    words = [str(tmp_path), "--images", str(images), "--output", str(tmp_path / "r.png")]
    assert tool.main(words) == 1
    assert "has reconstructed no regions; name a run that has." in capsys.readouterr().err
