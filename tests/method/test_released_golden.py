"""Every stage of a small released Mask R-CNN against figures from the authors' own code.

tools/maintain/parity/golden_figures.py computed released_golden.json with commit 3f5e927 of
github.com/LiewFeng/imTED, on a CPU in float32, from the weights and the image that this test makes
by the same formulas. Here the weights come through a file in the released layout.
"""

import importlib
import json
from pathlib import Path

import pytest
import torch
from detectron2.config import instantiate

from imted.checkpoint import load_checkpoint

GOLDEN = json.loads(Path(__file__).with_name("released_golden.json").read_text())
TOOLS = Path(__file__).parents[2] / "tools/maintain/parity"


@pytest.fixture
def tool(monkeypatch):
    """Import a module of tools/parity; none of these two needs the authors' code."""
    monkeypatch.syspath_prepend(str(TOOLS))
    return importlib.import_module


@pytest.fixture
def outputs(tool, small_released_config, released_file):
    """Compute what GOLDEN has, with our model."""
    golden = tool("golden_figures")
    config = small_released_config(masks=True)
    config.backbone.net.depth = golden.DEPTH
    config.backbone.net.early_blocks = [golden.EARLY_BLOCK]
    config.backbone.in_feature = f"block{golden.EARLY_BLOCK}"
    model = instantiate(config).eval()
    _, weights = released_file(masks=True, depth=golden.DEPTH)
    weights = {
        name: golden.make_weight(name, value.shape)
        for name, value in weights.items()
        if value.is_floating_point()
    }
    path, _ = released_file(masks=True, depth=golden.DEPTH, **weights)
    load_checkpoint(model, path)

    image = torch.from_numpy(golden.make_image()).permute(2, 0, 1)
    with torch.no_grad():
        values = tool("compare_with_released_imted").infer_ours(
            model,
            model.preprocess_image([{"image": image}]),
            {"boxes": torch.tensor(golden.BOXES)},
            image.shape[1:],
        )
    return golden.summarize(values)


def test_every_stage_matches_the_authors_code(outputs):
    wrong = []
    for name, golden in GOLDEN.items():
        _, rms, *_ = golden["figures"]
        near = pytest.approx(golden["figures"], rel=1e-4, abs=2e-5 * rms)
        if outputs[name]["shape"] != golden["shape"] or outputs[name]["figures"] != near:
            wrong.append(name)
    assert not wrong
