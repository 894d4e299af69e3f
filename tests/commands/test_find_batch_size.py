"""The largest number of images a step, on a CPU whose memory is said to be full."""

import argparse
import re

import pytest
import torch

from benchmarking import batch_size
from benchmarking.batch_size import STEPS
from imted.config.load import load_config, override_config
from imted.config.resolve import resolve
from imted.errors import UserError
from imted.training.trainer import Trainer
from synthetic.dataset import write_split
from synthetic.shapes import ShapesOptions

CONFIG = "configs/custom/imted_faster_rcnn_vit_tiny.py"


@pytest.fixture
def tool(load_script):
    return load_script("tools/find_batch_size.py")


@pytest.fixture
def run(tmp_path):
    """A small training of 2 x 4 images an iteration, on images of two sizes."""
    words = ["train.device=cpu", f"train.output_dir={tmp_path / 'out'}"]
    for split, size in (("train", 64), ("val", 64)):
        write_split(tmp_path, split, 4, seed=0, options=ShapesOptions(image_size=size))
        words += [f"dataset.{split}_json={tmp_path / split}.json"]
        words += [f"dataset.{split}_images={tmp_path / split}"]
    words += ["dataloader.train.num_workers=0", "model.proposal_generator.post_nms_topk=[8,8]"]
    words += ["dataloader.train.mapper.augmentations.1.short_edge_length=[64,96]"]
    words += ["dataloader.train.total_batch_size=2", "train.accumulation_steps=4"]
    return resolve(CONFIG, words)


@pytest.fixture
def memory(monkeypatch):
    """Let steps of more images than this fail; note how many each had."""
    seen = []
    backward = Trainer._backward

    def limited(most):
        def step(self, batch, last):
            seen.append(len(batch))
            if len(batch) > most:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return backward(self, batch, last)

        monkeypatch.setattr(Trainer, "_backward", step)
        return seen

    return limited


def arguments(**changes):
    return argparse.Namespace(**{"num_gpus": 1, "samples": 6, **changes})


def test_the_sample_is_the_largest_one(run):
    sample = batch_size.largest_sample(run, 12)
    assert max(sample["image"].shape[1:]) == 96


@pytest.mark.parametrize(("most", "gpus", "expected"), [(4, 1, 4), (3, 2, 2), (99, 1, 8)])
def test_what_it_prints_keeps_an_iterations_images(tool, run, memory, capsys, most, gpus, expected):
    seen = memory(most)
    tool._try(run, arguments(num_gpus=gpus), 8 // gpus)
    printed = capsys.readouterr().out
    assert set(seen) == {n for n in (1, 2, 4, 8) if n <= 8 // gpus and n <= 2 * expected}
    assert ("does not fit" in printed) == (most < 8)
    # Where an iteration is to have several steps, two are tried.
    assert all(seen.count(n) == STEPS * min(2, 8 // gpus // n) for n in set(seen) if n <= most)
    words = re.findall(r"[\w.]+=\d+", printed)
    cfg = load_config(CONFIG)
    override_config(cfg, words, CONFIG)
    total, steps = cfg.dataloader.train.total_batch_size, cfg.train.accumulation_steps
    assert total == expected * gpus and total * steps == 8


def test_when_one_image_is_too_many_it_says_what_saves_memory(tool, run, memory):
    memory(0)
    with pytest.raises(UserError, match=r"memory is full; set train\.amp\.enabled=true"):
        tool._try(run, arguments(), 8)


def test_other_errors_are_not_taken_for_a_full_memory(run, monkeypatch):
    def fail(self, batch, last):
        raise RuntimeError("shapes don't fit")

    monkeypatch.setattr(Trainer, "_backward", fail)
    with pytest.raises(RuntimeError, match="shapes don't fit"):
        list(batch_size.try_batches(run, batch_size.largest_sample(run, 1), 2))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--config-file", CONFIG, "train.device=cpu"], "there is none (train.device)"),
        (["--config-file", CONFIG, "--samples", "0"], "--samples must be at least 1"),
    ],
)
def test_errors(tool, capsys, words, message):
    assert tool.main(words) == 1
    assert message in capsys.readouterr().err
