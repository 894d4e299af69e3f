import json

import pytest
import torch
from safetensors.torch import save_file

from imted.checkpoint import read_description, read_state_dict, save_state_dict
from imted.errors import UserError

RESIZE = {
    "_target_": "detectron2.data.transforms.ResizeShortestEdge",
    "short_edge_length": 384,
    "max_size": 640,
}
RANDOM = {"_target_": "detectron2.data.transforms.RandomApply"}
WEIGHTS = {"w": torch.arange(3.0)}


@pytest.fixture
def said(description):
    return description(
        classes=("ant", "bee"), category_ids=(3, 7), masks=True, augmentations=(RESIZE,)
    )


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_file_says_what_it_was_told_and_holds_the_same_weights(said, tmp_path, suffix):
    path = str(tmp_path / f"weights.{suffix}")
    save_state_dict(WEIGHTS, path, said)
    assert read_description(path) == said
    assert torch.equal(read_state_dict(path)["w"], WEIGHTS["w"])


def test_what_is_in_the_file_is_plain_values(said, tmp_path):
    save_state_dict(WEIGHTS, str(tmp_path / "weights.pth"), said)
    content = torch.load(tmp_path / "weights.pth", weights_only=True)
    assert content["description"] == json.loads(json.dumps(content["description"]))
    assert content["description"]["classes"] == ["ant", "bee"]


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_file_that_says_nothing(tmp_path, suffix):
    path = str(tmp_path / f"weights.{suffix}")
    save_state_dict(WEIGHTS, path)
    assert read_description(path) is None


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"classes": None}, "NoneType"),
        ({"category_ids": [3]}, "equally many"),
        ({"category_ids": ["a", "b"]}, "'a'"),
        ({"augmentations": [{"_target_": "os.system", "command": "x"}]}, "no known augmentation"),
        ({"augmentations": [{"_target_": "imted.errors.UserError"}]}, "no known augmentation"),
        ({"augmentations": [{"_target_": "detectron2.nothing.Here"}]}, ""),
        ({"augmentations": [RANDOM | {"tfm_or_aug": {"_target_": "os.system"}}]}, "no known augm"),
        ({"augmentations": [RESIZE | {"max_size": "${oc.decode:'{}'}"}]}, "no known augmentation"),
        ({"augmentations": 3}, ""),
        ({"augmentations": [{"short": 3}]}, "_target_"),
    ],
)
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_what_cannot_be_read_is_one_sentence(said, tmp_path, suffix, changes, word):
    path = tmp_path / f"weights.{suffix}"
    if suffix == "pth":
        torch.save({"model": WEIGHTS, "description": {**said.to_dict(), **changes}}, path)
    else:
        save_file(WEIGHTS, path, {"description": json.dumps({**said.to_dict(), **changes})})
    with pytest.raises(UserError, match=f"{path.name}: what the file says of itself.*{word}"):
        read_description(str(path))


def test_a_torn_safetensors_text_is_one_sentence(tmp_path):
    save_file(WEIGHTS, tmp_path / "w.safetensors", {"description": "{torn"})
    with pytest.raises(UserError, match="what the file says of itself"):
        read_description(str(tmp_path / "w.safetensors"))


def test_entries_of_a_later_version_are_left_out(said, tmp_path):
    torch.save(
        {"model": WEIGHTS, "description": {**said.to_dict(), "later": 1}}, tmp_path / "w.pth"
    )
    assert read_description(str(tmp_path / "w.pth")) == said
