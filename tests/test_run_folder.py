import json
import subprocess
import sys

import pytest

from imted.errors import UserError
from imted.run_folder import (
    forget_replaced,
    keep_metrics,
    locked,
    prepare,
    refuse_others,
    restore_replaced,
)

LOCKER = """
import sys, time
from imted.run_folder import locked
with locked(sys.argv[1]):
    print("locked", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def old_run(tmp_path):
    for name in ("model_0000009.pth", "last_checkpoint", "metrics.json", "log.txt", "notes.txt"):
        (tmp_path / name).write_text(name)
    return tmp_path


def test_a_live_run_keeps_others_out_and_a_killed_one_does_not(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", LOCKER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "locked\n"
    with pytest.raises(UserError, match=rf"is in use by process {process.pid} on "):
        locked(str(tmp_path)).__enter__()
    process.kill()
    process.wait()
    with locked(str(tmp_path)):
        pass


def test_a_new_run_does_not_mix_with_an_old_one(old_run):
    with pytest.raises(UserError, match=r"holds a run .*--resume.*train.overwrite=true"):
        prepare(str(old_run), resume=False, overwrite=False)
    assert len(list(old_run.iterdir())) == 5
    prepare(str(old_run), resume=True, overwrite=False)
    assert len(list(old_run.iterdir())) == 5


@pytest.mark.parametrize("name", ["config.yaml", "results.json", "datasets/train.json"])
def test_a_folder_of_another_s_files_is_no_run_s(tmp_path, name):
    path = tmp_path / "project" / name
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    with pytest.raises(UserError, match=f"holds no run, but {name}"):
        refuse_others(str(tmp_path / "project"), str(tmp_path / "config.py"))
    refuse_others(str(tmp_path / "project"), str(path))  # it is what is run
    (tmp_path / "project/log.txt.rank1").touch()  # another machine of a new run was here first
    with pytest.raises(UserError, match=f"holds no run, but {name}"):
        refuse_others(str(tmp_path / "project"), "")
    path.unlink()
    refuse_others(str(tmp_path / "project"), "")
    path.write_text("a run's")
    (tmp_path / "project/log.txt").touch()
    refuse_others(str(tmp_path / "project"), "")


def test_overwriting_removes_the_run_and_nothing_else(old_run):
    (old_run / "model_zoo.pth").write_text("not of a run")
    (old_run / "datasets").mkdir()
    prepare(str(old_run), resume=False, overwrite=True)
    left = sorted(path.name for path in old_run.iterdir())
    assert left == [".replaced_run", "datasets", "model_zoo.pth", "notes.txt"]
    forget_replaced(old_run)
    assert sorted(path.name for path in old_run.iterdir()) == left[1:]


def test_a_run_that_is_not_replaced_after_all_comes_back(old_run):
    before = {path.name: path.read_bytes() for path in old_run.iterdir()}
    for _ in range(2):  # an attempt that fails early, and one that leaves something
        prepare(str(old_run), resume=False, overwrite=True)
        (old_run / "metrics.json").write_text("{}")
    assert not (old_run / "last_checkpoint").exists()
    (old_run / "metrics.json").unlink()
    restore_replaced(old_run)
    assert {path.name: path.read_bytes() for path in old_run.iterdir()} == before


def test_what_a_new_run_reads_is_not_replaced(old_run):
    reads = {"train.init_checkpoint": str(old_run / "../" / old_run.name / "model_0000009.pth")}
    with pytest.raises(UserError, match=r"model_0000009\.pth \(train\.init_checkpoint\) is a file"):
        prepare(str(old_run), resume=False, overwrite=True, reads=reads)
    assert (old_run / "model_0000009.pth").exists()


def test_a_start_that_failed_is_no_run(tmp_path):
    for name in ("log.txt", "config.yaml", "model_0000009.pth.partial", "thesis.partial"):
        (tmp_path / name).write_text("")
    prepare(str(tmp_path), resume=False, overwrite=False)
    assert not (tmp_path / "model_0000009.pth.partial").exists()
    assert (tmp_path / "thesis.partial").exists()  # the user's own


@pytest.mark.parametrize("content", [None, b"", b"\xff"])
def test_resuming_needs_to_be_told_from_where(old_run, content):
    (old_run / "last_checkpoint").unlink()
    if content is not None:
        (old_run / "last_checkpoint").write_bytes(content)
    with pytest.raises(UserError, match=r"has model_0000009.pth but no last_checkpoint"):
        prepare(str(old_run), resume=True, overwrite=False)


def test_metrics_that_are_done_again_are_removed(tmp_path):
    lines = [json.dumps({"iteration": i, "loss": 1.5}) for i in (4, 9, 14)]
    (tmp_path / "metrics.json").write_text("\n".join(lines) + '\n{"iterat')
    assert [record["iteration"] for record in keep_metrics(str(tmp_path), 10)] == [4, 9]
    assert (tmp_path / "metrics.json").read_text().splitlines() == [
        '{"iteration": 4, "loss": 1.5}',
        '{"iteration": 9, "loss": 1.5}',
    ]
    assert keep_metrics(str(tmp_path / "absent"), 10) == []
