import math

import pytest
from omegaconf import OmegaConf

from imted.config.load import build, load_config
from imted.config.settings import check_settings, is_in_range
from imted.errors import UserError

CONFIG = "configs/custom/imted_mask_rcnn_vit_tiny.py"


@pytest.mark.parametrize(
    ("words", "inside", "outside"),
    [
        ("at least 0 and at most 1", (0, 1, 0.5), (-1e-9, 1.1, math.nan, math.inf)),
        ("at least 0 and below 1", (0, 0.999), (1, 1.0)),
        ("above 0", (1e-9, 10**30), (0, 0.0, -1)),
    ],
)
def test_ranges(words, inside, outside):
    assert all(is_in_range(value, words) for value in inside)
    assert not any(is_in_range(value, words) for value in outside)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.lr=nan", "optimizer.lr is nan; it must be at least 0."),
        ("optimizer.betas=[0.9,2]", "optimizer.betas is [0.9, 2]; it must be at least 0 and below"),
        ("lr_multiplier.warmup_length=1.5", "it must be at least 0 and at most 1."),
        ("model.pixel_std=[0,1,1]", "model.pixel_std is [0, 1, 1]; it must be above 0."),
        ("model.roi_heads.positive_fraction=2.0", "model.roi_heads.positive_fraction is 2.0;"),
        ("model.proposal_generator.batch_size_per_image=0", "it must be at least 1."),
        ("model.roi_heads.mask_head.conv_dims=[inf]", "conv_dims"),
        ("optimizer=null", "optimizer is null; a run needs it."),
        ("dataloader.evaluator=null", "dataloader.evaluator is null; it is needed"),
        ("train.ddp={fp16_compression:true,bf16_compression:true}", "not both"),
        ("train.amp=null", "field 'train.amp' is not Optional"),
        ("dataloader.train.mapper.image_format=HSV", "it must be 'RGB' or 'BGR'"),
    ],
)
def test_what_ruins_a_training_is_refused(override, message):
    with pytest.raises(UserError) as error:
        check_settings(load_config(CONFIG, [override]))
    assert message in str(error.value)


def test_nothing_else_may_be_infinite():
    cfg = load_config(CONFIG)
    OmegaConf.update(cfg, "model.extra", {"deep": [1.0, math.inf]}, force_add=True)
    with pytest.raises(UserError, match=r"model.extra.deep\[1\] is inf; it must be finite"):
        check_settings(cfg)


def test_what_cannot_be_built_is_one_sentence():
    cfg = load_config(CONFIG, ["model.backbone.net.num_heads=5"])
    with pytest.raises(UserError, match=r"The config's model can't be built \(.*num_heads"):
        build(cfg.model, "model")
