import json
from pathlib import Path

import pytest
from paths import CONFIG, TOYS

from imted.errors import UserError
from imted.extras.sweep.launch import Slot, run_on_slurm, slots_here
from imted.extras.sweep.points import Point, expand
from imted.extras.sweep.runs import plan, read_record, write_record


@pytest.fixture(autouse=True)
def toys(monkeypatch):
    monkeypatch.syspath_prepend(str(TOYS))


def planned(tmp_path, *words, **kwargs):
    return plan(CONFIG, expand(words), str(tmp_path), **kwargs)


def finish(run, evaluated=True):
    """Write what a finished run leaves."""
    folder = Path(run.folder)
    (folder / "last_checkpoint").write_text("model_final.pth")
    lines = (
        [{"iteration": run.max_iter, "evaluation_time": 1.0}] if evaluated else [{"iteration": 3}]
    )
    (folder / "metrics.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "results.json").write_text("{}")


def test_a_run_has_its_folder_and_command_line(tmp_path):
    (run,) = planned(tmp_path, "optimizer.lr=0.5", num_gpus=2)
    assert run.folder == f"{tmp_path}/run" and run.max_iter == 6 and run.evaluates
    assert run.words == (
        *("--num-gpus", "2", "--config-file", CONFIG, "optimizer.lr=0.5"),
        f"train.output_dir={tmp_path}/run",
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["optimizer.lr=1e-3,1e-4", "optimizer.lrr=3"], "Point lr-0.001: optimizer.lrr is not in"),
        (["optimizer.lr=0.1,word"], "Point lr-word: optimizer.lr must be a float"),
        (["optimizer.lr=0.1,-1"], "Point lr--1: optimizer.lr is -1"),
        (["model.dim=8,-1"], "Point dim--1: The config's model can't be built"),
        (["train.output_dir=a,b"], "give --output"),
        (["optimizer.lr=0.1,0.10"], "share the folder|are the same run"),
    ],
)
def test_every_point_is_checked_before_any_starts(tmp_path, words, message):
    with pytest.raises(UserError, match=message):
        planned(tmp_path, *words)
    assert not list(tmp_path.iterdir())


def test_points_that_differ_in_name_alone_are_one_run(tmp_path):
    points = [Point(name, name, ("optimizer.lr=0.1",)) for name in ("a", "b")]
    with pytest.raises(UserError, match="Points a and b are the same run"):
        plan(CONFIG, points, str(tmp_path))


def test_a_run_is_known_when_settings_have_been_added_since(tmp_path):
    (run,) = planned(tmp_path, "optimizer.lr=0.1")
    del run.config["train.ddp.bf16_compression"], run.config["train.max_bad_steps"]
    write_record(run, 0)
    finish(run)
    words = ["optimizer.lr=0.1", "train.ddp.bf16_compression=false"]
    (again,) = planned(tmp_path, *words)
    assert again.finished and again.folder == run.folder
    words[1] = "train.ddp.bf16_compression=true"
    with pytest.raises(UserError, match=r"bf16_compression=False there, True now\)"):
        planned(tmp_path, *words)


def test_a_run_is_known_by_its_config(tmp_path):
    first, second = planned(tmp_path, "optimizer.lr=0.1,0.2")
    for number, run in enumerate((first, second)):
        write_record(run, number)
        finish(run)
    (tmp_path / "lr-0.1").rename(tmp_path / "kept")
    # Another name, a default that is written out, another device: all the same run.
    words = ["optimizer.lr=0.1,0.2", "train.device=cpu", "train.log_period=1"]
    again = planned(tmp_path, *words)
    assert [run.folder for run in again] == [f"{tmp_path}/kept", f"{tmp_path}/lr-0.2"]
    assert all(run.finished for run in again)


def test_a_run_keeps_the_name_that_says_more(tmp_path):
    wide, narrow = ["optimizer.lr=0.1,0.2", "train.seed=0,1"], ["optimizer.lr=0.1", "train.seed=0"]
    for number, words in enumerate((narrow, wide, narrow)):
        for run in planned(tmp_path, *words):
            write_record(run, number)
        groups = {read_record(path.parent)["group"] for path in tmp_path.glob("*/point.json")}
        assert groups == ({"lr-0.1", "lr-0.2"} if number else {"run"})


def test_a_folder_of_another_config_is_refused(tmp_path):
    (run,) = planned(tmp_path, "optimizer.lr=0.1")
    write_record(run, 0)
    with pytest.raises(UserError, match=r"optimizer.lr=0.1 there, 0.2 now"):
        planned(tmp_path, "optimizer.lr=0.2")
    (tmp_path / "run/point.json").unlink()
    (tmp_path / "run/last_checkpoint").write_text("model_final.pth")
    with pytest.raises(UserError, match="that no sweep has started"):
        planned(tmp_path, "optimizer.lr=0.2")


def test_a_record_that_is_damaged_is_named(tmp_path):
    (tmp_path / "point.json").write_text("{")
    with pytest.raises(UserError, match=r"point.json can't be read"):
        read_record(tmp_path)
    assert read_record(tmp_path / "gone") is None


def test_a_run_is_finished_when_it_was_evaluated(tmp_path):
    (run,) = planned(tmp_path, "optimizer.lr=0.1")
    assert not run.finished and run.done_iterations == 0 and not run.running
    write_record(run, 0)
    finish(run, evaluated=False)
    assert not run.finished and run.done_iterations == 4
    finish(run)
    assert run.finished and run.done_iterations == 6
    (tmp_path / "run/results.json").unlink()
    assert not run.finished


def test_slurm_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    runs = planned(tmp_path, "optimizer.lr=0.1")
    logs = str(tmp_path / "jobs")
    with pytest.raises(UserError, match=r"Slurm refuses the sweep: .*slurm cluster"):
        next(run_on_slurm(runs, logs, lambda: None, jobs=None, num_gpus=0, options={}))


def test_a_machine_is_divided(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2, 4, 5, 6, 7})
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert slots_here(3, 1) == [Slot("", cores) for cores in ((0, 1), (2, 4), (5, 6))]
    assert [slot.cores for slot in slots_here(None, 1)] == [(n,) for n in (0, 1, 2, 4, 5, 6, 7)]
    with pytest.raises(UserError, match="at most 7 run at once"):
        slots_here(8, 1)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 5)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert slots_here(None, 2) == [Slot("0,1"), Slot("2,3")]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-a,7")
    assert slots_here(2, 1) == [Slot("3"), Slot("GPU-a")]
    with pytest.raises(UserError, match="needs more than this machine has"):
        slots_here(None, 4)
