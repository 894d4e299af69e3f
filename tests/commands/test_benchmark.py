import json

import pytest
import torch
from detectron2.utils.events import EventStorage

from benchmarking.steps import step, step_by_stage
from benchmarking.systems import build_systems, make_batch
from imted.config.load import load_config
from imted.config.resolve import Run
from imted.modeling import roi_pooler

CONFIG = "configs/quickstart.py"
SMALL = ["train.device=cpu", "model.roi_heads.num_classes=3"]


@pytest.fixture
def benchmark(load_script):
    return load_script("tools/benchmark.py")


@pytest.fixture
def systems():
    """Return ours and the released way, and a batch."""
    systems = build_systems(Run.of(load_config(CONFIG, SMALL)), ["released"], train=True)
    return systems, make_batch(2, (64, 96), seed=0, train=True)


def test_the_released_way_computes_the_same(systems):
    (ours, released), batch = systems
    torch.nn.init.ones_(ours.model.roi_heads.box_pooler.scale)  # at zero the pyramid isn't seen
    released.model.load_state_dict(ours.model.state_dict())
    found = []
    for system in (ours, released):
        torch.manual_seed(0)
        with EventStorage(), system.around():
            losses = system.model(batch)
            sum(losses.values()).backward()
        gradients = [p.grad for p in system.model.parameters() if p.grad is not None]
        found.append((losses, torch.stack([gradient.norm() for gradient in gradients])))
    (losses, norms), (expected, expected_norms) = found
    assert losses.keys() == expected.keys()
    for name, loss in losses.items():
        torch.testing.assert_close(loss, expected[name], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(norms, expected_norms, rtol=1e-2, atol=1e-4)
    assert roi_pooler.MAX_CELLS  # what the other way changes is changed back


def test_every_step_is_of_the_same_rois(systems):
    systems, batch = systems
    boxes = []
    for system in systems:
        before = {name: p.clone() for name, p in system.model.named_parameters()}
        system.model.roi_heads.box_pooler.register_forward_pre_hook(
            lambda _, inputs: boxes.append(torch.cat([b.tensor for b in inputs[1]]))
        )
        with EventStorage():
            for _ in range(2):
                step(system, batch)
        assert all(torch.equal(p, before[name]) for name, p in system.model.named_parameters())
    for other in boxes[1:]:
        torch.testing.assert_close(other, boxes[0], rtol=0, atol=1e-2)  # pixels


def test_stages_are_parts_of_the_step(systems):
    (ours, _), batch = systems
    with EventStorage():
        spent = step_by_stage(ours, batch, torch.device("cpu"))
    assert set(spent) >= {"encoder", "pyramid", "RPN", "box head", "backward", "optimizer"}
    assert all(seconds >= 0 for seconds in spent.values())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in ours.model.modules())


@pytest.mark.slow
def test_it_writes_what_it_prints(benchmark, tmp_path, capsys):
    words = ["--config-file", CONFIG, "--task", "eval", "train", "--against", "released"]
    size = ["--image-size", "64", "96", "--repeats", "2", "--output", str(tmp_path)]
    assert benchmark.main([*words, *size, *SMALL]) == 0
    out = capsys.readouterr().out
    found = json.loads((tmp_path / "benchmark.json").read_text())
    assert found.keys() == {"eval", "train"}
    for task, systems in found.items():
        assert list(systems) == ["ours", "released"]
        assert f"## {task}: 1 x 64 x 96, cpu" in out
        assert all(len(system["seconds"]) == 2 for system in systems.values())
    # Forward products are the same; the released way recomputes blocks in the backward pass.
    assert found["train"]["released"]["flops"] > found["train"]["ours"]["flops"] > 0
    assert (tmp_path / "benchmark.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--task", "eval", "--repeats", "0"], "must be at least 1"),
        (["--task", "eval", "--against", "gone.py"], "gone.py doesn't exist"),
        (["--task", "eval", "--against", "released", "a.b=1"], "--against a.b=1 is no system"),
    ],
)
def test_mistakes_are_one_line(benchmark, words, message, capsys):
    assert benchmark.main(["--config-file", CONFIG, *words, "--batch", "1", *SMALL]) == 1
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1
