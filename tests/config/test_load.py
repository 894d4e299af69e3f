import textwrap

import pytest
from detectron2.config import instantiate

from imted.config.load import load_config
from imted.errors import UserError

CONFIG = """
from functools import partial
from detectron2.config import LazyCall as L

class Base:
    def __init__(self, depth=2, name="a"):
        pass

class Derived(Base):
    def __init__(self, width, scale: float = 1.0, **kwargs):
        pass

model = L(Derived)(
    width=8, sizes=[1, 2], ratios=[0.5, 1.0], norm=partial(int), head=None, seed="${train.seed}",
    copy="${train.amp}", layers=[L(Base)(depth=1), L(Base)(depth=2)], lost="${nothing.here}",
)
dataloader = dict(train=dict(json="", folder="images"))
optimizer = dict(lr=0.1)
lr_multiplier = dict(length=1)
train = dict(max_iter=10, seed=0, amp=dict(enabled=False, dtype="bf16"), output_dir="out")
"""


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "x.py"
    file.write_text(CONFIG)
    return str(file)


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("train.max_iter=20", "train.max_iter", 20),
        ("optimizer.lr=1", "optimizer.lr", 1),
        ("optimizer.lr=1e-4", "optimizer.lr", 1e-4),
        ("train.amp.enabled=true", "train.amp.enabled", True),
        ("train.output_dir=a b/c=d/e.json", "train.output_dir", "a b/c=d/e.json"),
        ('train.output_dir="a, b"', "train.output_dir", "a, b"),
        ("train.output_dir=it's (1), 100%", "train.output_dir", "it's (1), 100%"),
        ("train.output_dir=2024", "train.output_dir", "2024"),
        ("dataloader.train.json=/x/[1]/y.json", "dataloader.train.json", "/x/[1]/y.json"),
        ("dataloader.train.json=[a.json,b.json]", "dataloader.train.json", ["a.json", "b.json"]),
        ("train.output_dir=${dataloader.train.folder}", "train.output_dir", "images"),
        ("model.sizes=[3]", "model.sizes", [3]),
        ("model.ratios=[1,0.25]", "model.ratios", [1, 0.25]),
        ("model.layers.1.depth=5", "model.layers.1.depth", 5),
        ("model.layers.0.name=b", "model.layers.0.name", "b"),
        ("model.head=5", "model.head", 5),
        ("model.layers=null", "model.layers", None),
        ("model.seed=7", "model.seed", 7),
        ("model.lost=7", "model.lost", 7),
        ("model._target_=torch.nn.Linear", "model._target_", "torch.nn.Linear"),
        ("model.scale=2", "model.scale", 2),
        ("model.depth=3", "model.depth", 3),
        ("train.amp={enabled:true}", "train.amp", {"enabled": True, "dtype": "bf16"}),
    ],
)
def test_override_is_applied(path, override, key, value):
    cfg = load_config(path, [override])
    for part in key.split("."):
        cfg = cfg[int(part) if part.isdigit() else part]
    assert cfg == value


def test_last_override_of_a_key_counts(path):
    assert load_config(path, ["optimizer.lr=1", "optimizer.lr=0.5"]).optimizer.lr == 0.5


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.max_itr=5", "train.max_itr is not in {path}; did you mean train.max_iter?"),
        ("trian.max_iter=5", "did you mean train.max_iter?"),
        ("max_iter=5", "did you mean train.max_iter?"),
        ("train.xyz=5", "train has output_dir, init_checkpoint, max_iter, epochs, overwrite"),
        ("model.widht=5", "did you mean model.width?"),
        ("model.dept=5", "did you mean model.depth?"),
        ("model.layers.0.dept=5", "did you mean model.layers.0.depth?"),
        ("model.layers.2.depth=5", "model.layers in {path} is a list of 2; it has no 2."),
        ("model.head.size=5", "model.head is None"),
        ("train.max_iter.x=5", "train.max_iter is an int"),
        ("train.amp={enable:true}", "did you mean train.amp.enabled?"),
        ("train.max_iter=ten", "train.max_iter must be an int, not text ('ten')."),
        ("train.max_iter=1.5", "train.max_iter must be an int, not a float"),
        ("train.max_iter=true", "train.max_iter must be an int, not true or false"),
        ("train.max_iter=null", "train.max_iter must be an int, not None"),
        ("train.max_iter=[1]", "train.max_iter must be an int, not a list of int"),
        ("train.max_iter=1,2", "train.max_iter: can't read"),
        ("optimizer.lr=fast", "optimizer.lr must be a float, not text"),
        ("optimizer.lr=true", "optimizer.lr must be a float, not true or false"),
        ("train.amp.enabled=1", "train.amp.enabled must be true or false, not an int"),
        ("train.amp=true", "train.amp must be a group of settings"),
        ("train.amp={enabled:5}", "train.amp.enabled must be true or false"),
        ("train.output_dir=[1]", "train.output_dir must be text"),
        ("model.sizes=3", "model.sizes must be a list of int, not an int"),
        ("model.sizes=[a]", "model.sizes must be a list of int, not a list of str"),
        ("model.seed=x", "model.seed must be an int"),
        ("model.scale=x", "model.scale must be a float"),
        ("model.copy.dtype=fp16", "model.copy in {path} refers to another group"),
        ("model.norm=torch.nn.LayerNorm", "model.norm must be a function or class"),
        ("optimizer.lr=${train.nothing}", "optimizer.lr: ${train.nothing} doesn't name a value"),
        ("train.max_iter 5", "write key=value"),
        ("--resume", "--resume is an option, where a key=value is due"),
        ("=5", "write key=value"),
    ],
)
def test_wrong_override_is_a_user_error(path, override, message):
    with pytest.raises(UserError) as error:
        load_config(path, [override])
    assert message.replace("{path}", path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "doesn't exist"),
        ("model = dict(", "syntax error"),
        ("\nmodel = undefined_name", "x.py, line 2: NameError: name 'undefined_name'"),
        ("from .missing import model", "x.py, line 1: ImportError"),
        ("model = dict()\ntrain = dict()", "doesn't define dataloader, optimizer, lr_multiplier."),
    ],
)
def test_wrong_file_is_a_user_error(tmp_path, content, message):
    path = tmp_path / "x.py"
    if content is not None:
        path.write_text(textwrap.dedent(content))
    with pytest.raises(UserError, match=message):
        load_config(str(path))


def test_no_file_is_a_user_error():
    with pytest.raises(UserError, match="--config-file"):
        load_config("")


COMPUTED = """
from detectron2.config import LazyCall as L

def count() -> int:
    return 3

model = dict(classes=L(count)())
dataloader = optimizer = lr_multiplier = train = {}
"""


def test_a_value_that_is_computed_can_be_stated(tmp_path):
    (tmp_path / "x.py").write_text(COMPUTED)
    path = str(tmp_path / "x.py")
    assert load_config(path, ["model.classes=5"]).model.classes == 5
    with pytest.raises(UserError, match=r"model\.classes must be an int"):
        load_config(path, ["model.classes=five"])


def test_another_call_takes_a_groups_place(path):
    cfg = load_config(path, ["model={_target_:collections.Counter,red:3}"])
    assert instantiate(cfg.model) == {"red": 3}
    cfg = load_config(path, ["model={width:9}"])  # else its values are set one by one
    assert cfg.model.width == 9 and list(cfg.model.sizes) == [1, 2]
