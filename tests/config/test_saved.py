import pytest
import torch
import yaml
from detectron2.layers import ShapeSpec
from omegaconf import OmegaConf

from imted.config.saved import read_config, read_values
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


@pytest.mark.parametrize("module", ["config", "engine"])
def test_earlier_versions_named_their_classes(read, module):
    settings = f"!!python/object:imted.{module}.settings."
    text = (
        f"train: {settings}TrainSettings\n  max_iter: 5\n  amp: {settings}AmpSettings {{dtype: x}}"
    )
    assert read(text).train == {"max_iter": 5, "amp": {"dtype": "x"}}


def test_names_of_earlier_versions(read):
    text = "a: {_target_: imted.engine.optimizer.layer_decay_param_groups, layer_decay: 0.5}"
    assert read(text).a._target_ == "imted.training.optimizer.layer_decay_param_groups"


def test_a_look_at_the_values_looks_nothing_up(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("a: {_target_: herlib.Net, norm: !!python/name:herlib.Norm '', n: [1]}")
    assert read_values(str(path)) == {
        "a": {"_target_": "herlib.Net", "norm": "herlib.Norm", "n": [1]}
    }


LAUGHS = "a0: &a0 [x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)
)
MERGES = "a0: &a0 {x: 1}\n" + "".join(
    f"a{i}: &a{i}\n  <<: [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)
)


@pytest.mark.parametrize("text", [LAUGHS, MERGES, "a: &a [*a]", "a: &a {b: *a}"])
@pytest.mark.parametrize("reader", [read_config, read_values])
def test_few_lines_that_stand_for_millions(tmp_path, text, reader):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(UserError, match=r"config\.yaml can't be read"):
        reader(str(tmp_path / "config.yaml"))


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
        "a: !!python/object/apply:functools.partial {{args: [], state: !!python/tuple "
        "[!!python/name:os.system '', !!python/tuple ['touch {folder}/ran'], {{}}, null]}}",
        "a: {{_target_: imted.run_folder.os.system, command: 'touch {folder}/ran'}}",
        "a: {{_target_: torch.load, f: '{folder}/x', weights_only: false}}",
        "a: {{_target_: '${{b}}', command: 'touch {folder}/ran'}}\nb: os.system",
        "a: '${{oc.decode:\"{{_target_: os.system, command: touch {folder}/ran}}\"}}'",
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
