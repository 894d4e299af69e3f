import argparse
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from iopath.common.file_io import PathHandler, PathManagerFactory
from safetensors.torch import save_file

from imted.checkpoint import read_state_dict, save_state_dict
from imted.errors import UserError

WEIGHTS = {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.ones(2, dtype=torch.float16)}


def assert_same(found: dict, expected: dict):
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key].dtype == value.dtype
        assert torch.equal(found[key], value), key


@pytest.mark.parametrize(
    "content",
    [
        WEIGHTS,
        {"model": WEIGHTS},
        {"state_dict": WEIGHTS},
        # What MAE's own training saves.
        {"model": WEIGHTS, "epoch": 3, "args": argparse.Namespace(lr=0.1), "optimizer": {"a": []}},
        # What mmdetection's saves.
        {"state_dict": WEIGHTS, "meta": {"CLASSES": ("a",), "best": np.float64(0.5), "epoch": 3}},
        {"state_dict": WEIGHTS, "meta": {"seen": [np.int64(3), np.float32(2), np.bool_(True)]}},
    ],
    ids=["bare", "model", "state_dict", "mae-training", "mmdetection", "numpy"],
)
@pytest.mark.parametrize("new_format", [True, False], ids=["zip", "legacy"])
def test_layouts_of_torch_files(tmp_path, content, new_format):
    path = tmp_path / "weights.pth"
    torch.save(content, path, _use_new_zipfile_serialization=new_format)
    assert_same(read_state_dict(str(path)), WEIGHTS)


@pytest.mark.parametrize("core", [b"numpy.core", b"numpy._core"])
@pytest.mark.parametrize("kind", ["pth", "pkl"])
def test_numbers_of_either_numpy(tmp_path, core, kind):
    path = tmp_path / f"weights.{kind}"
    if kind == "pth":
        content = {"state_dict": WEIGHTS, "meta": {"best": np.float64(0.5)}}
        torch.save(content, path, _use_new_zipfile_serialization=False)
    else:
        arrays = {key: value.numpy() for key, value in WEIGHTS.items()}
        path.write_bytes(pickle.dumps({"model": arrays, "best": np.float64(0.5)}, protocol=2))
    content = path.read_bytes()
    assert re.search(rb"numpy\._?core\.multiarray\nscalar", content)
    path.write_bytes(re.sub(rb"numpy\._?core", core, content))
    assert_same(read_state_dict(str(path)), WEIGHTS)


def test_safetensors(tmp_path):
    path = str(tmp_path / "weights.safetensors")
    save_file(WEIGHTS, path)
    assert_same(read_state_dict(path), WEIGHTS)


class SchemeHandler(PathHandler):
    """Reads scheme://name from a folder, as handlers of URLs do after the download."""

    def __init__(self, folder: Path):
        super().__init__()
        self.folder = folder

    def _get_supported_prefixes(self):
        return ["scheme://"]

    def _get_local_path(self, path, force=False, **kwargs):
        if "offline" in path:
            raise ConnectionError("no route to host")
        return str(self.folder / path.removeprefix("scheme://"))


def test_url_that_iopath_reads(tmp_path, monkeypatch):
    manager = PathManagerFactory.get("url_test")
    manager.register_handler(SchemeHandler(tmp_path), allow_override=True)
    monkeypatch.setattr("imted.checkpoint.files.PathManager", manager)
    torch.save(WEIGHTS, tmp_path / "weights.pth")
    assert_same(read_state_dict("scheme://weights.pth"), WEIGHTS)
    with pytest.raises(UserError, match=r"offline\.pth .*cannot be fetched: no route to host"):
        read_state_dict("scheme://offline.pth")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    "content", [b"", b"not weights\n", bytes(range(256)) * 8, b"PK\x03\x04junk"]
)
def test_what_is_no_checkpoint(tmp_path, content, suffix):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"weights\..*is not a checkpoint of plain tensors"):
        read_state_dict(str(path))


@pytest.mark.parametrize("kept", [2000, -99])
def test_cut_short(tmp_path, kept):
    path = tmp_path / "weights.pth"
    torch.save({"a": torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UserError, match="is not a checkpoint"):
        read_state_dict(str(path))


@pytest.mark.parametrize("content", [{}, {"model": {}}, {"epoch": 3}, [1, 2], torch.zeros(2)])
def test_no_weights(tmp_path, content):
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    with pytest.raises(UserError, match="holds no weights"):
        read_state_dict(str(path))


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match=r"absent\.pth \(train.init_checkpoint\) does not exist"):
        read_state_dict(str(tmp_path / "absent.pth"))


def test_folder(tmp_path):
    with pytest.raises(UserError, match="is a folder; name the file"):
        read_state_dict(str(tmp_path))
    torch.save({"model": {"w": torch.ones(2)}}, tmp_path / "model_final.pth")
    assert read_state_dict(str(tmp_path))["w"].tolist() == [1, 1]  # a finished training's


class Bomb:
    """Touches a file when unpickled."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("write", ["pickle", "torch", "torch-legacy"])
def test_code_in_a_file_is_not_executed(tmp_path, write):
    marker, path = tmp_path / "executed", tmp_path / "weights.pth"
    content = {"model": {"a": torch.zeros(2)}, "extra": Bomb(marker)}
    if write == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=write == "torch")
    with pytest.raises(UserError, match="is not a checkpoint of plain tensors"):
        read_state_dict(str(path))
    assert not marker.exists()

    # The file is dangerous indeed: whoever unpickles it runs its code.
    if write == "pickle":
        pickle.loads(path.read_bytes())
    else:
        torch.load(path, weights_only=False)
    assert marker.exists()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_file_that_cannot_be_written(tmp_path, suffix):
    (tmp_path / "file").write_text("in the place of a folder")
    with pytest.raises(UserError, match=rf"file/weights{suffix} can't be written"):
        save_state_dict({"w": torch.zeros(1)}, str(tmp_path / "file" / f"weights{suffix}"))
    save_state_dict({"w": torch.ones(1)}, str(tmp_path / "new" / f"weights{suffix}"))
    assert read_state_dict(str(tmp_path / "new" / f"weights{suffix}"))["w"] == 1


@pytest.mark.parametrize("name", ["mae.safetensors", "mae.pth"])
def test_save_mae_round_trip(saved_mae, name):
    path, model = saved_mae(name)
    expected = {
        key.removeprefix("encoder.").removeprefix("decoder."): value
        for key, value in model.state_dict().items()
    }
    assert {"cls_token", "decoder_blocks.1.mlp.fc2.bias", "mask_token"} <= expected.keys()
    assert_same(read_state_dict(path), expected)


def test_a_torch_file_of_save_mae_has_the_official_wrapping(saved_mae):
    path, model = saved_mae("mae.pth")
    content = torch.load(path, weights_only=True)
    assert set(content) == {"model"}
    assert len(content["model"]) == len(model.state_dict())
