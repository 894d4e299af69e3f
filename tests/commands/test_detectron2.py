"""A Detectron2 user is at home: its trainer takes our configs, ours takes its configs and files."""

import json
from pathlib import Path

import detectron2
import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import LazyCall as L
from detectron2.config import LazyConfig
from detectron2.data import DatasetMapper, build_detection_train_loader
from detectron2.data import transforms as T
from omegaconf import OmegaConf
from paths import ROOT

from imted.compat import detectron2_config_file
from imted.config.load import load_config
from imted.config.settings import TrainSettings
from imted.errors import UserError
from synthetic.dataset import write_split
from synthetic.shapes import ShapesOptions

QUICKSTART = ROOT / "configs/quickstart.py"
# Of an installation by a wheel; a checkout has it beside the package.
TRAINER = Path(detectron2.__file__).parents[1] / "tools/lazyconfig_train_net.py"


@pytest.fixture
def shapes(tmp_path):
    """A few images; return the overrides that name them and keep a run short."""
    for split, images in (("train", 4), ("val", 2)):
        write_split(tmp_path, split, images, seed=0, options=ShapesOptions(image_size=96))
    paths = [
        f"dataset.{split}_{what}={tmp_path / name}"
        for split in ("train", "val")
        for what, name in (("json", f"{split}.json"), ("images", split))
    ]
    short = ["train.device=cpu", "train.eval_period=0", "dataloader.train.num_workers=0"]
    return [*paths, *short, "dataloader.test.num_workers=0", "train.max_iter=2"]


@pytest.mark.slow
@pytest.mark.skipif(not TRAINER.is_file(), reason="Detectron2's tools are not installed")
def test_detectron2s_trainer_migrates_and_ours_resumes_its_run(shell, train_net, shapes, tmp_path):
    run = tmp_path / "run"
    options = [*shapes, f"train.output_dir={run}", "optimizer.lr=0.0"]
    done = shell(TRAINER, "--config-file", QUICKSTART, *options)
    assert done.returncode == 0, done.stderr
    weights = torch.load(run / "model_final.pth", weights_only=True)["model"]
    mae = torch.load(ROOT / "projects/imTED/weights/mae_vit_tiny_shapes.pth")["model"]
    for key in ("decoder_blocks.1.mlp.fc1.weight", "norm.weight"):
        assert torch.equal(weights[f"roi_heads.box_head.{key}"], mae[key].float())
    assert torch.equal(weights["backbone.net.cls_token"], mae["cls_token"].float())

    resumed = ["--config-file", QUICKSTART, "--resume", *options, "train.max_iter=3"]
    assert train_net(*resumed) == 0
    saved = torch.load(run / "model_final.pth", weights_only=True)
    assert saved["iteration"] == 2
    assert "segm" in json.loads((run / "results.json").read_text())


@pytest.mark.parametrize("variant", ["imted", "decoder_head", "random_decoder", "baseline"])
def test_detectron2s_checkpointer_migrates_as_the_loader_does(small_detector, mae_file, variant):
    from imted.checkpoint import load_checkpoint

    path, _ = mae_file()
    one, two = small_detector(variant), small_detector(variant)
    DetectionCheckpointer(one).load(path)
    load_checkpoint(two, path)
    assert {k: v.tolist() for k, v in one.state_dict().items()} == {
        k: v.tolist() for k, v in two.state_dict().items()
    }


def test_a_mae_without_its_decoder_is_an_error_there_too(small_detector, mae_file):
    path, _ = mae_file(drop=("decoder",))
    with pytest.raises(UserError, match="without its decoder"):
        DetectionCheckpointer(small_detector()).load(path)


def test_a_mae_with_more_blocks_is_an_error_there_too(small_detector, mae_file):
    path, _ = mae_file(encoder=dict(depth=4))
    with pytest.raises(UserError, match=r"another size.*'blocks\.3\."):
        DetectionCheckpointer(small_detector()).load(path)


@pytest.mark.parametrize("classes", [1, 5])
def test_a_detector_of_other_classes_is_an_error_there(small_detector, tmp_path, classes):
    torch.save({"model": small_detector().state_dict()}, tmp_path / "three.pth")
    DetectionCheckpointer(small_detector()).load(str(tmp_path / "three.pth"))
    with pytest.raises(UserError, match=rf"this model's {classes} classes"):
        DetectionCheckpointer(small_detector(num_classes=classes)).load(str(tmp_path / "three.pth"))


def test_detectron2s_own_configs_get_the_settings_they_do_not_state(tmp_path):
    path = detectron2_config_file("new_baselines/mask_rcnn_R_50_FPN_100ep_LSJ.py")
    stock, cfg = LazyConfig.load(path), load_config(path)
    for key, value in OmegaConf.to_container(stock.train).items():
        assert OmegaConf.select(cfg, f"train.{key}") == value or isinstance(value, dict)
    assert cfg.train.accumulation_steps == TrainSettings().accumulation_steps
    assert cfg.train.ema.enabled is False


def test_an_unknown_key_of_train_is_named(tmp_path):
    config = tmp_path / "config.py"
    config.write_text(
        "model = dataloader = optimizer = lr_multiplier = {}\ntrain = dict(max_iters=3)\n"
    )
    with pytest.raises(UserError, match=r"max_iters.*config\.py|config\.py.*max_iters"):
        load_config(str(config))


@pytest.mark.parametrize(
    ("line", "key"),
    [('max_iter="many"', "train.max_iter"), ("amp=dict(enabled=3.5)", "train.amp.enabled")],
)
def test_a_wrong_type_in_train_is_named(tmp_path, line, key):
    config = tmp_path / "config.py"
    config.write_text(
        f"model = dataloader = optimizer = lr_multiplier = {{}}\ntrain = dict({line})\n"
    )
    with pytest.raises(UserError, match=key.replace(".", r"\.")):
        load_config(str(config))


@pytest.mark.slow
def test_detectron2s_training_loader_is_taken(train_net, shapes, tmp_path):
    cfg = LazyConfig.load(str(QUICKSTART))
    cfg.dataloader.train = L(build_detection_train_loader)(
        dataset=cfg.dataloader.train.dataset,
        mapper=L(DatasetMapper)(
            is_train=True,
            augmentations=[L(T.RandomFlip)(horizontal=True)],
            image_format="RGB",
            use_instance_mask=True,
            instance_mask_format="bitmask",
        ),
        total_batch_size=2,
        num_workers=0,
    )
    LazyConfig.save(cfg, str(tmp_path / "config.yaml"))
    options = [*shapes, f"train.output_dir={tmp_path / 'run'}", "dataloader.test=null"]
    options = ["--config-file", tmp_path / "config.yaml", *options]
    assert train_net(*options) == 0
    assert train_net(options[0], options[1], "--resume", *options[2:], "train.max_iter=3") == 0
    assert "the order of the images starts anew" in (tmp_path / "run/log.txt").read_text()


@pytest.mark.slow
def test_shipped_files_are_found_from_another_folder(train_net, shapes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = [*shapes, "train.max_iter=0", "train.output_dir=here"]
    assert train_net("--config-file", "configs/quickstart.py", *options) == 0
    assert (tmp_path / "here/results.json").is_file()
