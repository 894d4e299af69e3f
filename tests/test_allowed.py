"""What a config.yaml and a checkpoint may name, judged by what the name stands for."""

import functools
import re
import sys
from pathlib import Path

import pytest
import torch
from config_files import config_names, load
from detectron2.config import LazyConfig, instantiate
from omegaconf import OmegaConf

from imted.allowed import Name, Partial, checked, find
from imted.compat import detectron2_config_file
from imted.config.compare import flatten
from imted.config.saved import read_config, read_values, write_config
from imted.errors import UserError

HARMLESS = [
    *("torch.nn.Linear", "torch.optim.SGD", "torchvision.transforms.Compose"),
    *("timm.layers.DropPath", "fvcore.common.param_scheduler.CosineParamScheduler"),
    *("detectron2.modeling.GeneralizedRCNN", "detectron2.data.transforms.RandomFlip"),
    *("detectron2.evaluation.COCOEvaluator", "detectron2.layers.ShapeSpec"),
    *("imted.modeling.ImTEDDetector", "imted.data.train_loader.build_train_loader"),
]


@pytest.mark.parametrize("name", HARMLESS)
def test_what_configs_name_is_allowed(name):
    assert callable(find(name, "x.yaml"))
    assert checked({"a": [{"_target_": name}]}, "x.yaml") == {"a": [{"_target_": name}]}


REFUSED = [
    "os.system",
    "posix.system",
    "builtins.eval",
    "eval",
    "functools.partial",
    "yaml.unsafe_load",
    "",
    # Detours through what allowed modules have imported.
    "imted.run_folder.os.system",
    "torch.utils.cpp_extension.subprocess.call",
    "detectron2.data.datasets.coco.os.system",
    "imted.allowed.functools.partial",
    "torch.nn.Module.__class__",
    "torch.nn.Linear.__init__.__globals__",
    "imted.errors.os",
    "imted.allowed..os.system",
    # Of the packages, and not harmless.
    "torch.load",
    "torch.hub.load",
    "torch.utils.cpp_extension.load_inline",
    "torch.jit.load",
    "torch.fx.GraphModule",
    "torch.jit.ScriptModule",
    "imted.config.load.load_config",
    "imted.config.load.build",
    "imted.training.launcher.main",
    "imted.atomic.write_text",
    "detectron2.config.instantiate",
    "detectron2.config.LazyConfig.load",
    "detectron2.utils.registry.locate",
    "detectron2.engine.launch",
    "detectron2.checkpoint.DetectionCheckpointer",
    "timm.create_model",
    "torchvision.datasets.ImageNet",
    "imted.Predictor",
    "imted",
]


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("wrap", ["call", "list", "nested", "value", "partial"])
def test_nothing_else_is(name, wrap):
    content = {
        "call": {"_target_": name},
        "list": {"a": [1, ({"_target_": name},)]},
        "nested": {"_target_": "torch.nn.Sequential", "a": {"b": {"_target_": {"_target_": name}}}},
        "value": {"activation": Name(name)},
        "partial": {"norm": Partial(Name(name), (), {})},
    }[wrap]
    with pytest.raises(UserError, match=rf"^x\.yaml names {re.escape(name)}.*--allow") as error:
        checked(content, "x.yaml")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "target", ["${a}", "${oc.decode:os.system}", 3, None, ["os.system"], "os${x}"]
)
def test_a_target_must_be_stated(target):
    with pytest.raises(UserError, match="_target_"):
        checked({"_target_": target, "a": "os.system"}, "x.yaml")


TEXTS = {
    "${train.seed}": True,
    "${..lr}": True,
    "${a.b[0].c-d}": True,
    "x/${few_shot.schedule.${few_shot.setting}.max_iter}": True,
    "${oc.env:HOME,datasets}/coco": True,
    "${oc.env:HOME}": True,
    "costs $5": True,
    '${oc.decode:"{_target_: os.system}"}': False,
    "${oc.create:{_target_: os.system}}": False,
    "${${name}:text}": False,
    "${oc.${name}:text}": False,
    "${oc.env:A,${oc.decode:x}}": False,
    "${x${oc.env:HOME}:y}": False,
    "${oc.env:HOME,'a'}": False,
}


@pytest.mark.parametrize(("text", "fine"), TEXTS.items())
def test_a_text_refers_to_values_and_to_the_environment(text, fine):
    if fine:
        assert checked({"a": [text]}, "x.yaml") == {"a": [text]}
    else:
        with pytest.raises(UserError, match="and to nothing else"):
            checked({"a": [text]}, "x.yaml")


def test_no_interpolation_calls_anything():
    """What the rule is for: OmegaConf makes a group of such a text, and Detectron2 calls it."""
    text = '${oc.decode:"{_target_: collections.Counter, red: 3}"}'
    assert instantiate(OmegaConf.create({"_target_": "builtins.dict", "a": text})) == {
        "a": {"red": 3}
    }


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of a user's, which notes that it was imported."""
    (tmp_path / "herlib").mkdir()
    (tmp_path / "herlib/__init__.py").write_text("import os\nfrom .heads import Head, make\n")
    (tmp_path / "herlib/heads.py").write_text(
        "import torch\nclass Head(torch.nn.Linear):\n    pass\ndef make(n):\n    return n\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield "herlib"
    for name in [name for name in sys.modules if name.partition(".")[0] == "herlib"]:
        del sys.modules[name]


def test_other_packages_are_not_imported_to_find_out(package):
    for name in ("herlib.Head", "herlib.heads.make"):
        with pytest.raises(UserError, match=f"--allow {name} "):
            find(name, "x.yaml")
    assert "herlib" not in sys.modules


@pytest.mark.parametrize(
    ("allow", "name", "fine"),
    [
        (["herlib"], "herlib.Head", True),
        (["herlib"], "herlib.make", True),
        (["herlib.heads.make"], "herlib.make", True),
        (["herlib.make"], "herlib.make", True),
        (["other", "herlib.heads"], "herlib.Head", True),
        (["herlib.heads.make"], "herlib.Head", False),
        (["herlib.he"], "herlib.Head", False),
        (["herlib"], "herlib.os.system", False),
        (["herlib"], "torch.load", False),
        (["torch.load"], "torch.load", True),
        (["torch.load"], "torch.hub.load", False),
    ],
)
def test_what_a_user_allows(package, allow, name, fine):
    if fine:
        assert find(name, "x.yaml", allow).__name__ == name.rpartition(".")[2]
    else:
        with pytest.raises(UserError, match="names"):
            find(name, "x.yaml", allow)


def test_names_of_earlier_versions():
    old = {
        "dataset": {"_target_": "imted.coco_check.dataset.CocoDataset"},
        "params": {"_target_": "imted.engine.optimizer.layer_decay_param_groups"},
        "evaluator": {"_target_": "imted.evaluation.lvis.LVISEvaluator"},
    }
    assert [call["_target_"] for call in checked(old, "x.yaml").values()] == [
        "imted.data.dataset.CocoDataset",
        "imted.training.optimizer.layer_decay_param_groups",
        "imted.data.lvis.LVISEvaluator",
    ]


def test_a_partial_is_one_of_what_it_names():
    made = checked([Partial(Name("torch.nn.LayerNorm"), (), {"eps": 1e-6})], "x.yaml")[0]
    assert isinstance(made, functools.partial)
    assert made(4).eps == 1e-6 and isinstance(made(4), torch.nn.LayerNorm)


def read_back(cfg, tmp_path):
    """Save a config as a run does, read it, and compare what both save."""
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    write_config(cfg, str(first))
    again = read_config(str(first))
    write_config(again, str(second))
    assert second.read_text() == first.read_text()
    assert flatten(read_values(str(first))) == flatten(again)
    assert OmegaConf.to_container(again.train) == OmegaConf.to_container(cfg.train)


ONE_OF_EACH_FAMILY = {}
for _name in config_names():
    ONE_OF_EACH_FAMILY.setdefault(_name.partition("/")[0], _name)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=() if n in ONE_OF_EACH_FAMILY.values() else pytest.mark.slow)
        for n in config_names()
    ],
)
def test_a_config_of_ours_is_read_back(name, tmp_path):
    read_back(load(name), tmp_path)


_ROOT = Path(detectron2_config_file("common/train.py")).parents[1]
_WITH_LAMBDAS = "new_baselines/"  # which no yaml can hold
OFTEN = ("common/models/mask_rcnn_vitdet.py", "COCO-Detection/fcos_R_50_FPN_1x.py")
DETECTRON2S = [path.relative_to(_ROOT).as_posix() for path in sorted(_ROOT.rglob("*.py"))]
# It holds a network that is built already, weights and all.
DETECTRON2S.remove("Misc/torchvision_imagenet_R_50.py")


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n in OFTEN else pytest.mark.slow) for n in DETECTRON2S],
)
def test_a_config_of_detectron2s_is_read_back(name, tmp_path):
    first, second = (str(tmp_path / name) for name in ("config.yaml", "again.yaml"))
    LazyConfig.save(LazyConfig.load(str(_ROOT / name)), first)
    if name.startswith(_WITH_LAMBDAS):
        with pytest.raises(UserError, match=r"config\.yaml"):
            read_config(first)
        return
    LazyConfig.save(read_config(first), second)
    assert Path(second).read_text() == Path(first).read_text()
