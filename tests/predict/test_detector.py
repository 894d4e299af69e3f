import logging
import shutil

import pytest
import torch
from detectron2.config import LazyConfig

import imted
from imted.checkpoint import Description, read_description, read_state_dict, save_state_dict
from imted.errors import UserError
from imted.predict import load_detector, load_run
from imted.predict.detector import named_weights

NAMES = ("ant", "bee", "cat")


def test_a_run_is_loaded_without_its_data(detector_run, tmp_path):
    folder = detector_run()
    shutil.rmtree(tmp_path / "images")
    (tmp_path / "val.json").unlink()
    loaded = load_run(str(folder))
    assert loaded.description.classes == NAMES
    assert loaded.description.category_ids == (2, 5, 7)
    assert loaded.model.roi_heads.num_classes == 3
    assert not loaded.model.training
    weights = read_state_dict(str(folder / "model_final.pth"))
    assert all(torch.equal(weights[name], v) for name, v in loaded.model.state_dict().items())


def test_the_average_predicts_where_the_average_was_evaluated(detector_run):
    folder = detector_run()
    path = folder / "model_final.pth"
    saved = torch.load(path, weights_only=True)
    saved["ema"] = {name: value + 1 for name, value in saved["model"].items()}
    torch.save(saved, path)
    for enabled, key in ((True, "ema"), (False, "model")):
        cfg = LazyConfig.load(str(folder / "config.yaml"))
        cfg.train.ema.enabled = enabled
        LazyConfig.save(cfg, str(folder / "config.yaml"))
        loaded = load_run(str(folder)).model.state_dict()
        assert all(torch.equal(saved[key][name], value) for name, value in loaded.items())


def test_the_package_offers_it(detector_run):
    model = imted.load_detector(str(detector_run()))
    assert model.roi_heads.num_classes == 3
    assert imted.load_detector is load_detector


def test_the_file_decides_over_a_config_from_elsewhere(detector_run, tmp_path):
    """Classes, masks, channels, normalisation and resize; overrides decide over the file."""
    weights = detector_run(masks=False) / "model_final.pth"
    description = read_description(str(weights))
    changed = Description(
        **{
            **vars(description),
            "input_format": "BGR",
            "pixel_mean": (1.0, 2.0, 3.0),
            "augmentations": (),
        }
    )
    save_state_dict(read_state_dict(str(weights)), str(weights), changed)
    other = detector_run("other", masks=True, num_classes=11)
    loaded = load_run(str(weights), str(other / "config.yaml"))
    assert loaded.model.roi_heads.num_classes == 3
    assert not loaded.model.roi_heads.mask_on
    assert loaded.model.input_format == "BGR"
    assert loaded.model.pixel_mean.flatten().tolist() == [1, 2, 3]
    mapper = loaded.run.cfg.dataloader.test.mapper
    assert list(mapper.augmentations) == [] and mapper.image_format == "BGR"
    forced = load_run(str(weights), str(other / "config.yaml"), ["model.pixel_mean=[4.0,5.0,6.0]"])
    assert forced.model.pixel_mean.flatten().tolist() == [4, 5, 6]


def test_an_old_file_takes_its_names_from_the_json(detector_run, caplog):
    folder = detector_run(described=False)
    with caplog.at_level(logging.WARNING, "imted"):
        logging.getLogger("imted").propagate = True
        loaded = load_run(str(folder))
    assert loaded.description.classes == NAMES
    assert loaded.description.category_ids == (2, 5, 7)
    assert "says nothing of itself" in caplog.text and "the json" in caplog.text


def test_another_data_set_of_that_name_gives_no_names(detector_run, monkeypatch):
    others = {1: "x", 2: "y", 3: "z"}
    monkeypatch.setattr("imted.predict.detector.registered_categories", lambda cfg: others)
    assert load_run(str(detector_run(described=False))).description.classes == NAMES


def test_an_old_file_without_its_data_has_numbers(detector_run, tmp_path):
    folder = detector_run(described=False)
    (tmp_path / "val.json").unlink()
    description = load_run(str(folder)).description
    assert description.classes == ("class 0", "class 1", "class 2")
    assert description.category_ids == (0, 1, 2)


def test_the_latest_checkpoint_stands_for_an_unfinished_run(detector_run):
    folder = detector_run()
    (folder / "model_final.pth").rename(folder / "model_0000099.pth")
    with pytest.raises(UserError, match=r"holds no model_final\.pth"):
        load_run(str(folder))
    (folder / "last_checkpoint").write_text("model_0000099.pth")
    assert load_run(str(folder)).weights == str(folder / "model_0000099.pth")


def test_no_config_beside_the_weights(detector_run, tmp_path):
    alone = tmp_path / "alone.pth"
    shutil.copy(detector_run() / "model_final.pth", alone)
    with pytest.raises(UserError, match=r"no config\.yaml beside the weights.*--config-file"):
        load_run(str(alone))


def test_weights_of_a_url_are_fetched(detector_run):
    config = str(detector_run() / "config.yaml")
    with pytest.raises(UserError, match=r"http://127\.0\.0\.1:9/model\.pth.*cannot be fetched"):
        load_run("http://127.0.0.1:9/model.pth", config)


def test_what_is_not_there(tmp_path):
    with pytest.raises(UserError, match=r"nowhere doesn't exist; name a run's folder"):
        load_run(str(tmp_path / "nowhere"))


def test_a_masked_autoencoder_is_no_detector(detector_run, mae_file):
    folder = detector_run()
    path, _ = mae_file()
    with pytest.raises(UserError, match="isn't a trained model"):
        load_run(path, str(folder / "config.yaml"))


def test_half_precision_on_a_gpu_is_full_precision_on_a_cpu(detector_run):
    folder = detector_run()
    cfg = LazyConfig.load(str(folder / "config.yaml"))
    cfg.train.amp.enabled, cfg.train.amp.dtype, cfg.train.device = True, "fp16", "cuda"
    LazyConfig.save(cfg, str(folder / "config.yaml"))
    assert load_run(str(folder), device="cpu").run.amp_dtype is None


@pytest.mark.parametrize(("gain", "dtype"), [(1.5, torch.bfloat16), (1.1, None), (0.8, None)])
def test_bfloat16_on_a_cpu_that_gains_by_it(detector_run, monkeypatch, gain, dtype):
    folder = detector_run()
    cfg = LazyConfig.load(str(folder / "config.yaml"))
    cfg.train.amp.enabled, cfg.train.amp.dtype = True, "bf16"
    LazyConfig.save(cfg, str(folder / "config.yaml"))
    monkeypatch.setattr("imted.precision.bfloat16_gain", lambda: gain)
    assert load_run(str(folder), device="cpu").run.amp_dtype is dtype
    by_override = load_run(str(folder), overrides=["train.device=cpu"])
    assert by_override.run.amp_dtype is dtype
    asked = load_run(str(folder), overrides=["train.amp.enabled=true"], device="cpu")
    assert asked.run.amp_dtype is torch.bfloat16


def test_which_weights_a_command_line_names(detector_run):
    folder = detector_run()
    config = str(folder / "config.yaml")
    assert named_weights(config) == str(folder)
    assert named_weights(config, ["train.seed=1", "train.init_checkpoint=a.pth"]) == "a.pth"
    assert named_weights("configs/quickstart.py").startswith("imted://")
    with pytest.raises(UserError, match=r"names no weights; add train.init_checkpoint="):
        named_weights("configs/pretrain/mae_vit_tiny.py")


def test_a_run_describes_its_checkpoints(detector_run, tmp_path):
    """What `describe` writes from the registered data set, and what reads it, agree."""
    from imted.training.describe import describe, registered_categories

    loaded = load_run(str(detector_run()))
    loaded.run.with_test_set()
    categories = registered_categories(loaded.run.cfg)
    assert categories == {2: "ant", 5: "bee", 7: "cat"}
    assert describe(loaded.model, loaded.run.cfg, categories) == loaded.description
