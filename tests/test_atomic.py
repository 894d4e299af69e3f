import errno
import os
from pathlib import Path

import pytest
import torch

from imted.atomic import PARTIAL, replacing, write_json
from imted.errors import UserError


@pytest.fixture
def old(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    return path


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_new_file_takes_the_place_when_it_is_whole(old):
    with replacing(old) as partial:
        Path(partial).write_text("new")
        assert old.read_text() == "old"
    assert old.read_text() == "new" and files(old.parent) == ["file"]


@pytest.mark.parametrize("error", [ValueError("wrong"), KeyboardInterrupt()])
def test_what_was_there_stays_when_anything_is_raised(old, error):
    with pytest.raises(type(error)), replacing(old) as partial:
        Path(partial).write_text("half")
        raise error
    assert old.read_text() == "old" and files(old.parent) == ["file"]


def test_a_full_disk_is_one_sentence(old):
    with (
        pytest.raises(UserError, match=r"file can't be written \(No space left on device\)"),
        replacing(old) as partial,
    ):
        Path(partial).write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert old.read_text() == "old" and files(old.parent) == ["file"]


def test_a_folder_that_is_gone_is_one_sentence(tmp_path):
    path = tmp_path / "gone" / "weights.pth"
    with (
        pytest.raises(UserError, match=r"weights.pth can't be written"),
        replacing(path) as partial,
    ):
        torch.save({"w": torch.zeros(1)}, partial)
    assert not path.parent.exists()


def test_json_makes_its_folder(tmp_path):
    write_json({"a": [1]}, tmp_path / "new" / "a.json")
    assert (tmp_path / "new/a.json").read_text() == '{"a": [1]}'
    assert not list(tmp_path.rglob(f"*{PARTIAL}"))
