import pytest
import torch
from safetensors.torch import load_file

from imted.checkpoint import read_description


@pytest.fixture
def half_precision(load_script):
    module = load_script("tools/half_precision.py")
    return lambda *args: module.main(list(map(str, args)))


def test_weights_are_rounded_to_half_precision(half_precision, tmp_path):
    weights = {"w": torch.tensor([[1.0, 1 / 3, -1e-3]]).T, "steps": torch.tensor([7])}
    torch.save({"model": weights}, tmp_path / "full.pth")
    assert half_precision(tmp_path / "full.pth", tmp_path / "half.safetensors") == 0
    written = load_file(tmp_path / "half.safetensors")
    assert written["w"].dtype == torch.float16 and written["steps"].tolist() == [7]
    # 11 bits of precision: a relative error of at most 2**-11.
    torch.testing.assert_close(written["w"].float(), weights["w"], rtol=2**-11, atol=0)


def test_a_torch_file_is_one_that_detectron2_reads(half_precision, tmp_path):
    torch.save({"model": {"w": torch.ones(2)}}, tmp_path / "full.pth")
    assert half_precision(tmp_path / "full.pth", tmp_path / "half.pth") == 0
    written = torch.load(tmp_path / "half.pth", weights_only=True)["model"]
    assert written["w"].dtype == torch.float16


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_what_the_file_says_of_itself_stays(half_precision, detector_run, tmp_path, suffix):
    full, half = detector_run() / "model_final.pth", tmp_path / f"half.{suffix}"
    assert half_precision(full, half) == 0
    assert read_description(str(half)) == read_description(str(full)) is not None


def test_the_average_of_a_training(half_precision, tmp_path):
    torch.save({"model": {"w": torch.ones(2)}, "ema": {"w": torch.zeros(2)}}, tmp_path / "run.pth")
    assert half_precision(tmp_path / "run.pth", tmp_path / "half.safetensors", "--averaged") == 0
    assert load_file(tmp_path / "half.safetensors")["w"].tolist() == [0, 0]


@pytest.mark.parametrize(
    "value, source, target, message",
    [
        (1e6, "full.pth", "half.safetensors", "beyond 65504"),
        (1.0, "full.pth", "half.bin", "must end in .safetensors or .pth"),
        (1.0, "absent.pth", "half.safetensors", "does not exist"),
    ],
)
def test_errors_end_with_one_line(half_precision, tmp_path, capsys, value, source, target, message):
    torch.save({"model": {"w": torch.tensor([value])}}, tmp_path / "full.pth")
    assert half_precision(tmp_path / source, tmp_path / target) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and message in error
    assert not (tmp_path / target).exists()


def test_weights_that_a_training_has_ruined_are_refused(half_precision, tmp_path, capsys):
    torch.save({"model": {"w": torch.tensor([1.0, float("nan")])}}, tmp_path / "full.pth")
    assert half_precision(tmp_path / "full.pth", tmp_path / "half.pth") == 1
    assert "aren't finite" in capsys.readouterr().err and not (tmp_path / "half.pth").exists()
