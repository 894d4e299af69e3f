"""The keys of the low-shot configs."""

import pytest
from config_files import load


@pytest.mark.parametrize("name", ["low_shot/imted_faster_rcnn_vit_base.py", "low_shot/shapes.py"])
def test_two_keys_choose_the_json_and_the_output(name):
    cfg = load(name)
    default = cfg.train.output_dir
    cfg.low_shot.update(percent=30, seed=4)
    assert cfg.dataset.train_json.endswith("/30percent_seed4.json")
    assert cfg.train.output_dir.endswith("30percent_seed4") and cfg.train.output_dir != default
