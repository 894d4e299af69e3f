"""Schedules in epochs: iterations are ceil(epochs * images / images of an iteration)."""

import pytest

from imted.config.epochs import count_iterations
from imted.config.load import load_config
from imted.errors import UserError

CONFIG = "configs/custom/imted_mask_rcnn_vit_base.py"


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
    cfg = load_config(CONFIG, overrides)
    count_iterations(cfg, images)
    assert (cfg.train.max_iter, cfg.train.eval_period) == (iterations, period)


def test_iterations_stay_where_none_are_asked_for():
    cfg = load_config("configs/quickstart.py")
    before = cfg.train.max_iter
    count_iterations(cfg, 10)
    assert cfg.train.max_iter == before


def test_epochs_and_iterations_are_refused():
    with pytest.raises(UserError, match=r"train\.epochs=36.*train\.epochs=null"):
        load_config(CONFIG, ["train.max_iter=5"])
    cfg = load_config(CONFIG, ["train.max_iter=5", "train.epochs=null"])
    assert cfg.train.max_iter == 5


def test_a_loader_without_length_is_refused():
    with pytest.raises(UserError, match="loader of known length"):
        count_iterations(load_config(CONFIG), None)


def test_any_setting_that_may_be_null_can_be_set_so():
    cfg = load_config("configs/quickstart.py", ["train.checkpointer.max_to_keep=null"])
    assert cfg.train.checkpointer.max_to_keep is None
    with pytest.raises(UserError, match=r"train\.max_iter must be an int"):
        load_config("configs/quickstart.py", ["train.max_iter=null"])
