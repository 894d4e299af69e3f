"""Losses on the test set, and pictures of predictions, at each evaluation."""

import copy
import json

import numpy as np
import pytest
import torch
from detectron2.config import instantiate
from detectron2.utils.events import EventStorage
from omegaconf import OmegaConf
from paths import ROOT
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from imted.config.dataset import complete_from_dataset
from imted.config.load import load_config
from imted.config.resolve import Run
from imted.errors import UserError
from imted.training.validation import check_validation, validation_losses
from synthetic.dataset import write_split
from synthetic.shapes import ShapesOptions

CONFIG = "configs/custom/imted_mask_rcnn_vit_tiny.py"


def records(folder):
    return [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]


def validations(folder):
    """Return the validation losses by the number of iterations done."""
    found = {}
    for record in records(folder):
        values = {k: v for k, v in record.items() if k.startswith("validation/")}
        if values:
            found[record["iteration"]] = values
    return found


def test_losses_are_those_of_the_saved_weights_without_dropout(train_net, tmp_path):
    assert train_net(f"train.output_dir={tmp_path}", "train.validation_loss=true") == 0
    found = validations(tmp_path)
    assert len(found) == 2  # after 3 of 6 iterations and at the end
    from toy_training import ToyModel, toy_dataset

    averaged = torch.load(tmp_path / "model_final.pth", weights_only=True)["ema"]
    model = ToyModel(dropout=0.2).eval()
    model.load_state_dict(averaged)
    y = np.array([model([sample])[0]["y"] for sample in toy_dataset(5)])
    last = found[max(found)]
    assert last["validation/loss_a"] == pytest.approx(np.mean(y**2), rel=1e-5)
    assert last["validation/loss_b"] == pytest.approx(np.mean(abs(y - 1)), rel=1e-5)
    total = last["validation/loss_a"] + last["validation/loss_b"]
    assert last["validation/total_loss"] == pytest.approx(total, rel=1e-5)
    assert "Validation: total_loss: " in (tmp_path / "log.txt").read_text()
    assert set(json.loads((tmp_path / "results.json").read_text())) == {"bbox"}


@pytest.mark.parametrize("frozen", ["[]", "[norm,net.0]"])
def test_the_training_goes_on_as_without(train_net, tmp_path, frozen):
    options = ("model.batch_norm=true", f"train.frozen={frozen}")
    saved = []
    for name, extra in (("with", "train.validation_loss=true"), ("without", "train.seed=1")):
        assert train_net(f"train.output_dir={tmp_path / name}", *options, extra) == 0
        saved.append(torch.load(tmp_path / name / "model_final.pth", weights_only=True))
    torch.testing.assert_close(saved[0], saved[1], rtol=0, atol=0)


def test_without_a_test_set_there_is_nothing_to_compute(train_net, tmp_path):
    options = ("train.validation_loss=true", "train.validation_images=2", "dataloader.test=null")
    assert train_net(f"train.output_dir={tmp_path}", *options) == 0
    assert validations(tmp_path) == {}


@pytest.fixture
def shapes(tmp_path, monkeypatch):
    """Write a few images of shapes; return the overrides that name them."""
    monkeypatch.chdir(ROOT)
    overrides = ["train.device=cpu", "train.init_checkpoint=''"]
    for split, images in (("train", 4), ("val", 3)):
        write_split(tmp_path, split, images, seed=0, options=ShapesOptions(image_size=96))
        overrides.append(f"dataset.{split}_json={tmp_path / split}.json")
        overrides.append(f"dataset.{split}_images={tmp_path / split}")
    for loader in ("train", "test"):
        overrides += [
            f"dataloader.{loader}.mapper.augmentations=[]",
            f"dataloader.{loader}.num_workers=0",
        ]
    return overrides


@pytest.mark.parametrize("batch_size", [1, 2])
def test_a_detectors_losses_are_the_ones_of_training(shapes, tmp_path, batch_size):
    """Without drop path the layers are the same in both modes: the plain loop is the truth."""
    drops = [f"model.{part}.drop_path_rate=0" for part in ("backbone.net", "roi_heads.box_head")]
    size = f"dataloader.test.batch_size={batch_size}"
    cfg = load_config(CONFIG, [*shapes, *drops, size, f"train.output_dir={tmp_path / 'out'}"])
    complete_from_dataset(cfg)
    torch.manual_seed(0)
    model = instantiate(cfg.model)
    model.roi_heads.eval()  # modes are put back as they were, whatever they were
    modes = {name: module.training for name, module in model.named_modules()}
    dicts = instantiate(cfg.dataloader.test.dataset)
    found = validation_losses(Run.of(cfg), model, dicts)
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert found == validation_losses(Run.of(cfg), model, dicts)

    model.train()
    mapper = instantiate(cfg.dataloader.train.mapper)  # with no augmentation
    samples = [mapper(copy.deepcopy(record)) for record in dicts]
    expected = dict.fromkeys(found, 0.0)
    with torch.no_grad(), EventStorage():
        for start in range(0, len(samples), batch_size):
            batch = samples[start : start + batch_size]
            torch.manual_seed(cfg.train.seed)
            for name, loss in model(batch).items():
                expected[name] += loss.item() * len(batch) / len(samples)
    expected["total_loss"] = sum(expected.values())
    assert {"loss_mask", "loss_cls", "loss_rpn_cls"} <= set(found)
    assert found == pytest.approx(expected, rel=1e-5)


def test_what_a_test_set_lacks_is_said_before_training(train_net, tmp_path, capsys):
    assert train_net(f"train.output_dir={tmp_path}", "train.validation_images=1") == 1
    assert "train.validation_images needs a test set by name" in capsys.readouterr().err
    cfg = OmegaConf.create({"train": {"validation_images": 0, "validation_loss": True}})
    cfg.dataloader = {"test": {"dataset": {"_target_": f"{__name__}.unlabelled"}}}
    cfg.dataloader.train = {"mapper": {"use_instance_mask": True}}
    with pytest.raises(
        UserError, match=r"need annotations, and dataloader\.test has images without"
    ):
        check_validation(cfg)

    cfg.dataloader.test.dataset._target_ = f"{__name__}.boxes_alone"
    with pytest.raises(UserError, match=r"needs a mask for every annotation"):
        check_validation(cfg)
    cfg.dataloader.train.mapper.use_instance_mask = False
    check_validation(cfg)


def boxes_alone():
    return [{"file_name": "a.png", "annotations": [{"segmentation": []}, {}]}]


def unlabelled():
    return [{"file_name": "a.png", "annotations": []}, {"file_name": "b.png"}]


@pytest.mark.slow
def test_a_run_shows_pictures_and_losses_in_tensorboard(train_net, shapes, tmp_path):
    run = tmp_path / "run"
    words = ("--config-file", CONFIG, *shapes, f"train.output_dir={run}")
    assert (
        train_net(
            *(*words, "train.max_iter=2", "train.eval_period=1", "train.log_period=1"),
            *("train.validation_loss=true", "train.validation_images=2"),
            "model.proposal_generator.post_nms_topk=[20,20]",
        )
        == 0
    )
    events = EventAccumulator(str(run), size_guidance={"images": 0, "scalars": 0}).Reload()
    tags = events.Tags()
    losses = [tag for tag in tags["scalars"] if tag.startswith("validation/")]
    assert "validation/total_loss" in losses and "validation/loss_mask" in losses
    assert len(events.Scalars("validation/total_loss")) == 2
    assert len(tags["images"]) == 2
    for tag in tags["images"]:
        pictures = events.Images(tag)
        assert len(pictures) == 2  # of two evaluations
        assert pictures[0].width >= 2 * pictures[0].height  # the truth and the predictions
