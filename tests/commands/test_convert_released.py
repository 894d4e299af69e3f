import pytest
import torch
from paths import ROOT
from safetensors.torch import load_file

CONFIG = "configs/released/imted_{}_rcnn_vit_small.py"
# Of the small released file in tests/conftest.py.
SIZES = [
    *(f"model.backbone.net.{size}" for size in ("embed_dim=32", "depth=3", "num_heads=2")),
    *(f"model.roi_heads.box_head.{size}" for size in ("dim=16", "depth=2", "num_heads=4")),
    *("model.backbone.out_channels=12", "model.roi_heads.num_classes=3"),
]


@pytest.fixture
def convert(load_script, monkeypatch):
    """Run the tool on a file of the small sizes and return its exit status."""
    monkeypatch.chdir(ROOT)
    module = load_script("tools/convert_released.py")

    def run(source, target, kind="faster"):
        config = ["--config-file", CONFIG.format(kind)]
        return module.main([str(source), str(target), *config, *SIZES])

    return run


def fingerprints(weights: dict[str, torch.Tensor]) -> list:
    """What a tensor is, whatever its name."""
    return sorted((value.shape, value.double().sum().item()) for value in weights.values())


@pytest.mark.parametrize("name", ["ours.pth", "ours.safetensors"])
def test_all_weights_are_written_under_our_names(convert, released_file, tmp_path, capsys, name):
    path, weights = released_file(masks=True, grid=14)
    assert convert(path, tmp_path / name, kind="mask") == 0
    out = capsys.readouterr().out
    assert "roi_head.bbox_head.decoder_blocks" in out and "left out" not in out
    if name.endswith(".pth"):
        content = torch.load(tmp_path / name, weights_only=True)
        assert set(content) == {"model"}
        written = content["model"]
    else:
        written = load_file(tmp_path / name)
    # The same values, each once; the names are the loader's, which has tests of its own.
    assert len(written) == len(weights)
    assert fingerprints(written) == fingerprints(weights)
    assert torch.equal(written["roi_heads.box_pooler.scale"], weights["roi_head.mfm_factor"])
    assert convert(tmp_path / name, tmp_path / "again.pth", kind="mask") == 1
    assert "not in the layout of the released detectors" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (dict(masks=True), "no place"),
        (dict(classes=60), "other classes"),
        (dict(dim=64), "another size"),
        (dict(drop="roi_head.mfm_factor"), "not imTED"),
    ],
)
def test_what_the_config_does_not_describe_is_refused(
    convert, released_file, tmp_path, capsys, file, message
):
    path, _ = released_file(grid=14, **file)
    assert convert(path, tmp_path / "ours.pth") == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and message in error
    assert not (tmp_path / "ours.pth").exists()
