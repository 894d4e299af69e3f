import re

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

# The tiny model made smaller still; what is counted below follows from these numbers.
SMALL = [
    *(f"model.backbone.net.{k}" for k in ("embed_dim=32", "depth=2", "num_heads=2")),
    *(f"model.roi_heads.box_head.{k}" for k in ("dim=16", "depth=3", "num_heads=4")),
    "model.proposal_generator.post_nms_topk=[300,300]",
    "train.device=cpu",
]


@pytest.fixture
def analyze(load_script):
    module = load_script("tools/analyze_model.py")

    def run(*args, config="configs/quickstart.py"):
        return module.main(["--config-file", config, *args, *SMALL])

    return run


def table(out):
    return {
        part.strip(): float(value)
        for part, value in re.findall(r"^([A-Za-z ,]+?)\s{2,}([\d.]+)$", out, re.MULTILINE)
    }


@pytest.mark.slow
def test_flops_are_those_of_a_formula(analyze, capsys):
    size = ("--image-size", "512", "512", "--use-fixed-input-size")
    assert analyze("--tasks", "flop", "-n", "1", *size) == 0
    parts = table(capsys.readouterr().out)
    tokens, width = 32 * 32, 32
    patches = tokens * 3 * 16 * 16 * width
    length = tokens + 1
    blocks = 2 * (12 * length * width**2 + 2 * length**2 * width)
    assert parts["encoder"] == pytest.approx((patches + blocks) / 1e9, abs=0.006)
    rois, positions, dim = 300, 49, 16
    norms = 5 * (width + 6 * dim)  # as fvcore counts a layer norm
    head = positions * (width * dim + 3 * (12 * dim**2 + 2 * positions * dim) + norms) * rois
    head -= (positions - 1) * 4 * dim**2 * rois  # the last layer takes the mean of the positions
    assert parts["box head"] == pytest.approx(head / 1e9, abs=0.006)
    assert parts["in all"] == pytest.approx(sum(parts.values()) - parts["in all"], abs=0.04)


def test_attention_is_counted_as_torch_counts_it(load_script):
    from fvcore.nn import FlopCountAnalysis

    class Attend(torch.nn.Module):
        def forward(self, q, k, v):
            return torch.nn.functional.scaled_dot_product_attention(q, k, v)

    module = load_script("tools/analyze_model.py")
    tensors = (torch.rand(2, 3, 7, 8), torch.rand(2, 3, 5, 8), torch.rand(2, 3, 5, 8))
    flops = FlopCountAnalysis(Attend(), tensors)
    flops.set_op_handle("aten::scaled_dot_product_attention", module.count_attention)
    with (
        torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH),
        FlopCounterMode(display=False) as counter,
    ):
        Attend()(*tensors)
    assert 2 * flops.total() == counter.get_total_flops()  # torch counts both of a multiply-add


@pytest.mark.slow
def test_the_other_tasks(analyze, capsys):
    assert analyze("--tasks", "parameter", "structure", "activation", "speed", "-n", "2") == 0
    out = capsys.readouterr().out
    assert "backbone.net.pos_embed" in out and "(box_head): DecoderBoxHead" in out
    assert re.search(r"Total \(Million\) Activations: [\d.]+±", out)
    assert re.search(r"[\d.]+ ms an image .* images/s on cpu", out)


@pytest.mark.slow
def test_the_size_is_that_of_the_config_s_resize(analyze, capsys):
    args = ("--tasks", "speed", "-n", "1", "--image-size", "120", "160")
    config = "configs/custom/imted_mask_rcnn_vit_tiny.py"
    assert analyze(*args, config=config) == 0
    out = capsys.readouterr().out
    assert "384x512 as the model sees them" in out and "80 are assumed" in out
    assert analyze(*args, "--use-fixed-input-size", config=config) == 0
    assert "120x160 as the model sees them" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["--tasks", "speed", "-n", "0"], "at least 1"),
        (["--tasks", "speed", "--image-size", "0", "5"], "at least 1"),
        (["--tasks", "speed", "--config-file", "no.py"], "no.py"),
    ],
)
def test_one_sentence(analyze, capsys, args, sentence):
    assert analyze(*args) == 1
    assert sentence in capsys.readouterr().err.splitlines()[-1]
