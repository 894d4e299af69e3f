"""The answer to a full GPU: its overrides are taken, and keep the images of an iteration."""

import re

import pytest
import torch

from imted.config.load import load_config, override_config
from imted.training import memory

CONFIG = "configs/custom/imted_mask_rcnn_vit_small.py"


def suggestions(cfg):
    return re.findall(r"[\w.]+=\w+", memory.memory_sentence(cfg))


@pytest.mark.parametrize(
    ("batch", "steps", "world", "expected"),
    [(4, 4, 1, 2), (3, 2, 1, 1), (6, 1, 2, 2), (16, 1, 8, 8), (1, 16, 1, None), (8, 2, 8, None)],
)
def test_an_iteration_keeps_its_images(monkeypatch, batch, steps, world, expected):
    monkeypatch.setattr(memory.comm, "get_world_size", lambda: world)
    sizes = [f"dataloader.train.total_batch_size={batch}", f"train.accumulation_steps={steps}"]
    cfg = load_config(CONFIG, sizes)
    words = suggestions(cfg)
    assert any("total_batch_size" in word for word in words) == (expected is not None)
    override_config(cfg, words, CONFIG)
    assert cfg.dataloader.train.total_batch_size == (expected or batch)
    assert cfg.dataloader.train.total_batch_size * cfg.train.accumulation_steps == batch * steps


def test_following_it_comes_to_an_end():
    cfg = load_config(CONFIG)
    said = []
    while words := suggestions(cfg):
        override_config(cfg, words, CONFIG)
        said += words
    assert cfg.model.roi_heads.batch_size_per_image == 1
    assert "model.roi_heads.box_head.use_act_checkpoint=true" in said
    assert "smaller images" in memory.memory_sentence(cfg)


def test_a_full_gpu_in_training_is_one_sentence(train_net, tmp_path, monkeypatch, capsys):
    def step(self, batch, last):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    monkeypatch.setattr("imted.training.trainer.Trainer._backward", step)
    assert train_net(f"train.output_dir={tmp_path}") == 1
    err = capsys.readouterr().err
    assert err.startswith("error: The GPU's memory is full; set dataloader.train.total_batch_size=")
    assert "nothing was saved yet" in err and err.count("\n") == 1
