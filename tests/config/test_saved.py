import pytest
import torch
import yaml
from detectron2.layers import ShapeSpec
from omegaconf import OmegaConf

from imted.config.saved import read_config
from imted.errors import UserError


@pytest.fixture
def read(tmp_path):
    def write_and_read(text):
        (tmp_path / "config.yaml").write_text(text)
        return read_config(str(tmp_path / "config.yaml"))

    return write_and_read


def test_what_a_run_saves_is_read_as_yaml_reads_it(read):
    text = yaml.dump(
        {
            "a": {"b": [1, 2.5, None, "x"], "c": "${a.b}"},
            "size": (3, 4),
            "shape": ShapeSpec(channels=5, stride=2),
            "norm": torch.nn.LayerNorm,
            "call": {"_target_": "torch.nn.Linear", "in_features": 1},
        }
    )
    expected = OmegaConf.create(yaml.unsafe_load(text), flags={"allow_objects": True})
    assert read(text) == expected


def test_earlier_versions_named_their_classes(read):
    text = "train: !!python/object:imted.config.settings.TrainSettings\n  max_iter: 5\n"
    assert read(text).train.max_iter == 5


@pytest.mark.parametrize(
    "text",
    [
        "a: !!python/object/apply:os.system ['touch {folder}/ran']",
        "a: !!python/object/new:os.system ['touch {folder}/ran']",
        "a: !!python/object:subprocess.Popen {{args: 'touch {folder}/ran'}}",
        "a: !!python/module:os",
        "a: !!python/name:os.system",
        "a: {{_target_: os.system, command: 'touch {folder}/ran'}}",
        "a: [{{_target_: builtins.eval, x: '1'}}]",
        "a: {{b: {{_target_: posix.system, command: 'touch {folder}/ran'}}}}",
        "a: {{_target_: !!python/name:subprocess.run , args: ['touch', '{folder}/ran']}}",
    ],
)
def test_nothing_in_it_is_run(read, tmp_path, text):
    with pytest.raises(UserError, match=r"config.yaml .*data"):
        read(text.format(folder=tmp_path))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("text", ["[1, 2]", "", "a: [", "a: 'b", "x: " + "[" * 5000])
def test_what_is_no_config(read, text):
    with pytest.raises(UserError, match=r"config.yaml"):
        read(text)
