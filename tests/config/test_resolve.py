"""What runs: resolved once, read-only; iterations are ceil(epochs * images / an iteration's)."""

import json
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from omegaconf.errors import ReadonlyConfigError

from imted.config.load import load_config
from imted.config.resolve import Run, count_epoch, resolve
from imted.config.saved import read_values, write_config
from imted.errors import UserError
from synthetic.dataset import write_split
from synthetic.shapes import ShapesOptions

CONFIG = "configs/custom/imted_mask_rcnn_vit_base.py"
TINY = "configs/custom/imted_mask_rcnn_vit_tiny.py"


def counted(images, overrides):
    """Count the epochs of a config whose training set is a list of so many."""
    cfg = load_config(CONFIG, overrides)
    cfg.dataloader.train.dataset = [{}] * images
    epoch = count_epoch(cfg)
    return Run(cfg, torch.device("cpu"), None, epoch=epoch)


@pytest.mark.parametrize(
    ("images", "overrides", "iterations", "period"),
    [
        (160, [], 360, 10),  # 16 images an iteration
        (161, [], 363, 11),
        (5, [], 12, 1),
        (160, ["train.accumulation_steps=4"], 720, 20),
        (160, ["train.epochs=0.5", "train.eval_period=0"], 5, 0),
    ],
)
def test_iterations_follow_from_the_images(images, overrides, iterations, period):
    run = counted(images, overrides)
    assert run.cfg.train.max_iter == iterations
    assert run.iterations(run.cfg.train.eval_period) == period


def test_iterations_stay_where_none_are_asked_for():
    cfg = load_config("configs/quickstart.py")
    before = cfg.train.max_iter
    assert count_epoch(cfg) is None
    assert cfg.train.max_iter == before
    assert Run(cfg, torch.device("cpu"), None).iterations(7) == 7


def test_epochs_and_iterations_are_refused():
    with pytest.raises(UserError, match=r"train\.epochs=36.*train\.epochs=null"):
        load_config(CONFIG, ["train.max_iter=5"])
    cfg = load_config(CONFIG, ["train.max_iter=5", "train.epochs=null"])
    assert cfg.train.max_iter == 5


@pytest.mark.parametrize("change", ["dataset", "total_batch_size"])
def test_a_loader_without_length_is_refused(change):
    cfg = load_config(CONFIG)
    cfg.dataloader.train.dataset = [{}]
    del cfg.dataloader.train[change]
    with pytest.raises(UserError, match="of known length"):
        count_epoch(cfg)


def test_any_setting_that_may_be_null_can_be_set_so():
    cfg = load_config("configs/quickstart.py", ["train.checkpointer.max_to_keep=null"])
    assert cfg.train.checkpointer.max_to_keep is None
    with pytest.raises(UserError, match=r"train\.max_iter must be an int"):
        load_config("configs/quickstart.py", ["train.max_iter=null"])


@pytest.fixture
def shapes(tmp_path):
    """Write images, half of them of masks; return what resolves a config that names them."""

    def overrides(masks=True, folder="run"):
        words = ["train.device=cpu", f"train.output_dir={tmp_path / folder}"]
        for split, images in (("train", 5), ("val", 2)):
            write_split(tmp_path, split, images, seed=0, options=ShapesOptions(image_size=64))
            path = tmp_path / f"{split}.json"
            if not masks:
                content = json.loads(path.read_text())
                for annotation in content["annotations"]:
                    del annotation["segmentation"]
                path.write_text(json.dumps(content))
            words += [f"dataset.{split}_json={path}", f"dataset.{split}_images={tmp_path / split}"]
        return words

    return overrides


@pytest.mark.parametrize("evaluation", [False, True])
@pytest.mark.parametrize("masks", [False, True])
def test_what_a_run_saves_resolves_to_the_same_again(shapes, tmp_path, evaluation, masks):
    words = [*shapes(masks), "train.epochs=3", "train.eval_period=1", "train.overwrite=true"]
    run = resolve(TINY, words, evaluation=evaluation)
    path = str(tmp_path / "config.yaml")
    write_config(run.cfg, path)
    again = resolve(path, evaluation=evaluation)
    plain = OmegaConf.to_container(run.cfg)
    # A config of Python holds classes, a file their names.
    write_config(again.cfg, str(tmp_path / "again.yaml"))
    assert (tmp_path / "again.yaml").read_text() == Path(path).read_text()
    assert (again.device, again.amp_dtype, again.epoch) == (run.device, run.amp_dtype, run.epoch)
    assert again.found.keys() == run.found.keys()
    saved = OmegaConf.to_container(read_values(path))
    assert saved["train"] == plain["train"]
    # And it is what the data says.
    assert run.cfg.model.roi_heads.num_classes == 6
    assert (run.cfg.model.roi_heads.mask_head is None) == (not masks)
    assert run.cfg.train.output_dir == str(tmp_path / ("run/eval" if evaluation else "run"))
    assert run.cfg.train.overwrite is False
    if not evaluation:
        assert run.cfg.train.max_iter == 8 and run.iterations(1) == 3  # 5 images, 2 an iteration


@pytest.mark.parametrize(("gain", "dtype"), [(1.5, torch.bfloat16), (0.8, None)])
def test_a_cpu_trains_in_what_it_is_faster_in(shapes, tmp_path, monkeypatch, caplog, gain, dtype):
    monkeypatch.setattr("imted.precision.bfloat16_gain", lambda: gain)
    small = "configs/custom/imted_faster_rcnn_vit_small.py"  # which has bfloat16
    words = [*shapes(), "train.device=cpu"]
    with caplog.at_level("INFO"):
        run = resolve(small, words)
    assert run.amp_dtype is dtype and run.cfg.train.amp.enabled is (dtype is not None)
    assert ("multiplies 0.8 times as fast" in caplog.text) == (dtype is None)
    asked = resolve(small, [*words, "train.amp.enabled=true"])
    assert asked.amp_dtype is torch.bfloat16
    assert resolve(small, words, num_machines=2).amp_dtype is torch.bfloat16
    # A training goes on in what it has begun in, and is evaluated in what is faster.
    path = str(tmp_path / "config.yaml")
    write_config(asked.cfg, path)
    assert resolve(path).amp_dtype is torch.bfloat16
    assert resolve(path, evaluation=True).amp_dtype is dtype


def test_nothing_writes_to_what_runs(shapes):
    run = resolve(TINY, [*shapes(), "train.seed=3"])
    for key in ("train.seed", "model.roi_heads.num_classes", "dataloader.train.mapper.is_train"):
        with pytest.raises(ReadonlyConfigError):
            OmegaConf.update(run.cfg, key, 1)
    with pytest.raises(ReadonlyConfigError):
        run.cfg.optimizer.params.model = None
    changed = run.changed({"train.seed": 5})
    assert (run.cfg.train.seed, changed.cfg.train.seed) == (3, 5)
    with pytest.raises(ReadonlyConfigError):
        changed.cfg.train.seed = 7


def test_without_a_test_set_there_is_no_evaluator(shapes):
    run = resolve(TINY, [*shapes(), "dataloader.test=null"])
    assert run.cfg.dataloader.evaluator is None


def test_a_training_in_a_folder_of_that_name_keeps_its_files(shapes, tmp_path):
    words = shapes(folder="eval")
    assert resolve(TINY, words, evaluation=True).cfg.train.output_dir == str(tmp_path / "eval")
    (tmp_path / "eval").mkdir(exist_ok=True)
    (tmp_path / "eval/last_checkpoint").write_text("model_final.pth")
    found = resolve(TINY, words, evaluation=True).cfg.train.output_dir
    assert found == str(tmp_path / "eval/eval")


def test_data_are_read_last_and_within_what_the_caller_starts(shapes, tmp_path):
    from contextlib import contextmanager

    seen = []

    @contextmanager
    def start(cfg, device):
        seen.append((cfg.train.output_dir, device.type, (tmp_path / "run").exists()))
        yield
        seen.append("left")

    words = shapes()
    with pytest.raises(UserError, match=r"train\.ema\.decay"):
        resolve(TINY, [*words, "train.ema.decay=2"], start=start)
    assert seen == []
    resolve(TINY, words, start=start)
    assert seen == [(str(tmp_path / "run"), "cpu", False), "left"]
    with pytest.raises(UserError, match="missing"):
        resolve(TINY, [*words, f"dataset.train_images={tmp_path}/val"], start=start)
    assert len(seen) == 3
