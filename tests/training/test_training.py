import json
import math
import shlex

import pytest
import torch
from detectron2.engine import SimpleTrainer
from paths import CONFIG
from torch import nn

from imted.checkpoint import load_checkpoint
from imted.config.load import load_config
from imted.config.resolve import Run
from imted.errors import UserError
from imted.training.checkpointers import DescribedCheckpointer
from imted.training.evaluate import do_test
from imted.training.trainer import Trainer


def metrics(folder):
    """Read metrics.json: {iteration: {name: value}}."""
    lines = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
    return {line["iteration"]: line for line in lines if "total_loss" in line}


def results(folder):
    return json.loads((folder / "results.json").read_text())


def checkpoint(folder, name="model_final.pth"):
    return torch.load(folder / name, weights_only=True)


@pytest.fixture
def trained(train_net, tmp_path):
    """A run of 6 iterations that nothing interrupted."""
    folder = tmp_path / "whole"
    assert train_net(f"train.output_dir={folder}") == 0
    return folder


def interrupt(folder, copy, iteration):
    """Make what a run that stopped after `iteration` iterations leaves."""
    copy.mkdir()
    name = f"model_{iteration - 1:07d}.pth"
    (copy / name).write_bytes((folder / name).read_bytes())
    (copy / "last_checkpoint").write_text(name)
    return copy


def test_resumed_run_equals_an_uninterrupted_one(train_net, trained, tmp_path):
    resumed = interrupt(trained, tmp_path / "resumed", 3)
    assert train_net("--resume", f"train.output_dir={resumed}") == 0
    one, two = checkpoint(trained), checkpoint(resumed)
    torch.testing.assert_close(two, one, rtol=0, atol=0)
    assert list(metrics(trained)) == [0, 1, 2, 3, 4, 5] and list(metrics(resumed)) == [3, 4, 5]
    assert results(resumed) == results(trained)


def test_resumed_frozen_run_equals_an_uninterrupted_one(train_net, tmp_path):
    options = ("model.batch_norm=true", "train.frozen=[norm,net.0]")
    assert train_net(f"train.output_dir={tmp_path / 'a'}", *options) == 0
    resumed = interrupt(tmp_path / "a", tmp_path / "b", 3)
    assert train_net("--resume", f"train.output_dir={resumed}", *options) == 0
    torch.testing.assert_close(checkpoint(resumed), checkpoint(tmp_path / "a"), rtol=0, atol=0)
    assert results(resumed) == results(tmp_path / "a")


def test_resuming_says_what_was_changed(train_net, trained, tmp_path, capfd):
    resumed = interrupt(trained, tmp_path / "resumed", 3)
    (resumed / "config.yaml").write_bytes((trained / "config.yaml").read_bytes())
    command = ("--resume", f"train.output_dir={resumed}")
    assert train_net(*command, "optimizer.lr=0.25", "train.max_iter=5") == 0
    printed = [line.split() for line in capfd.readouterr().out.splitlines()]
    assert ["changed", "optimizer.lr=0.01", "there,", "0.25", "now"] in printed
    assert ["train.max_iter=6", "there,", "5", "now"] in printed
    assert train_net(*command, "optimizer.lr=0.25", "train.max_iter=5") == 0
    assert "changed" not in capfd.readouterr().out
    (resumed / "config.yaml").write_text("{")
    assert train_net(*command, "optimizer.lr=0.25", "train.max_iter=5") == 0


def test_a_run_that_was_moved_is_resumed_where_it_is(train_net, trained, tmp_path, capfd):
    moved = interrupt(trained, tmp_path / "a folder", 3)
    (moved / "config.yaml").write_bytes((trained / "config.yaml").read_bytes())
    before = {path: path.stat().st_mtime_ns for path in trained.rglob("*")}
    command = ("--resume", "--allow", "toy_training", "--config-file", moved / "config.yaml")
    assert train_net(*command) == 1
    word = f"train.output_dir={moved}"
    assert f"to resume it here, add '{word}'." in capfd.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in trained.rglob("*")} == before
    assert train_net(*command, word) == 0
    assert results(moved) == results(trained)


def test_losses_of_a_resumed_run_are_the_same(train_net, tmp_path, monkeypatch):
    """Compare the losses themselves: metrics.json has medians over past iterations."""
    seen = []
    write = SimpleTrainer.write_metrics

    def spy(losses, *args):
        seen.append({name: loss.item() for name, loss in losses.items()})
        write(losses, *args)

    monkeypatch.setattr(SimpleTrainer, "write_metrics", staticmethod(spy))
    train_net(f"train.output_dir={tmp_path / 'a'}")
    whole, seen[:] = seen[:], []
    train_net("--resume", f"train.output_dir={interrupt(tmp_path / 'a', tmp_path / 'b', 3)}")
    assert len(whole) == 6 and seen == whole[3:]


@pytest.mark.parametrize("workers", [0, 1])
def test_error_found_in_training_shows_no_trace(train_net, tmp_path, capfd, workers):
    mapper = "dataloader.train.mapper.reject=true"
    number = f"dataloader.train.num_workers={workers}"
    assert train_net(f"train.output_dir={tmp_path}", mapper, number) == 1
    printed = capfd.readouterr()
    assert "rejects every image" in printed.err and printed.err.count("error: ") == 1
    assert "Traceback" not in printed.err + printed.out


def test_an_error_in_the_evaluation_shows_before_training(train_net, tmp_path, capsys, monkeypatch):
    def refuse(self):
        raise UserError("the evaluator's list is missing.")

    monkeypatch.setattr("toy_training.ToyEvaluator.__init__", refuse, raising=False)
    assert train_net(f"train.output_dir={tmp_path}") == 1
    assert "error: the evaluator's list is missing." in capsys.readouterr().err
    assert not (tmp_path / "metrics.json").exists()


def test_outputs_of_a_run(trained):
    ap = results(trained)["bbox"]["AP"]
    assert results(trained) == {"bbox": {"AP": ap, "APs": None}} and ap == ap
    saved = checkpoint(trained)
    assert saved["iteration"] == 5 and saved["trainer"]["iteration"] == 5
    assert saved["model"].keys() == saved["ema"].keys()
    assert any(not torch.equal(saved["model"][k], saved["ema"][k]) for k in saved["ema"])
    assert {"model_0000002.pth", "model_0000005.pth", "model_best.pth", "config.yaml"} <= {
        path.name for path in trained.iterdir()
    }
    assert list(trained.glob("events.out.tfevents.*"))
    assert {"grad_norm", "images_per_second", "lr"} <= metrics(trained)[5].keys()
    log = (trained / "log.txt").read_text()
    for part in ("eta: ", "max_mem: ", "images/s: ", "6 iterations of 4 images = 2.4 epochs of 10"):
        assert part in log
    best = json.loads((trained / "model_best.json").read_text())
    assert best["metric"] == "bbox/AP" and best["value"] >= ap


@pytest.mark.parametrize("norm", [1.0, 2.0])
def test_a_run_trains_as_its_config_says(train_net, tmp_path, norm):
    """Of SGD at a rate of 1, a step is the clipped gradient times the schedule's multiplier."""
    words = ["optimizer._target_=torch.optim.SGD", "optimizer.lr=1", "optimizer.weight_decay=0"]
    words += ["train.clip_grad.max_norm=0.001", f"train.clip_grad.norm_type={norm}"]
    words += ["train.ema.decay=0.7", "train.checkpointer.period=1", "train.max_iter=5"]
    assert train_net(f"train.output_dir={tmp_path}", *words) == 0
    saved = [checkpoint(tmp_path, f"model_{i:07d}.pth") for i in range(5)]
    for i in range(1, 5):
        before, after = saved[i - 1]["model"], saved[i]["model"]
        step = torch.cat([(after[name] - before[name]).flatten() for name in after])
        multiplier = (1 + math.cos(math.pi * i / 5)) / 2
        assert step.double().norm(norm).item() == pytest.approx(0.001 * multiplier, rel=0.01)
        for name, average in saved[i]["ema"].items():
            expected = 0.7 * saved[i - 1]["ema"][name] + 0.3 * after[name]
            torch.testing.assert_close(average, expected, rtol=1e-5, atol=1e-7)


def test_a_run_that_diverges_ends_after_as_many_bad_steps_as_its_config_says(
    train_net, tmp_path, capsys
):
    words = ["optimizer._target_=torch.optim.SGD", "optimizer.lr=1e30", "train.max_bad_steps=3"]
    words += ["train.clip_grad.enabled=false", "train.max_iter=30", "train.eval_period=0"]
    assert train_net(f"train.output_dir={tmp_path}", *words) == 1
    assert "3 steps in a row (train.max_bad_steps)" in capsys.readouterr().err


def test_as_many_of_the_latest_checkpoints_are_kept_as_the_config_says(train_net, tmp_path):
    words = [f"train.output_dir={tmp_path}", "train.checkpointer.period=1"]
    assert train_net(*words, "train.max_iter=4") == 0
    numbered = "model_" + "[0-9]" * 7 + ".pth"
    assert len(list(tmp_path.glob(numbered))) == 4  # of the 5 that the toy keeps
    assert (
        train_net("--resume", *words, "train.max_iter=6", "train.checkpointer.max_to_keep=3") == 0
    )
    kept = sorted(path.name for path in tmp_path.glob(numbered))
    assert kept == [f"model_{i:07d}.pth" for i in (3, 4, 5)]


def test_weights_that_are_not_finite_are_neither_saved_nor_loaded_nor_evaluated(tmp_path):
    model = nn.Linear(2, 1)
    checkpointer = DescribedCheckpointer(model, str(tmp_path), None)
    checkpointer.save("model_0000000")
    with torch.no_grad():
        model.weight[0, 1] = math.nan
    with pytest.raises(UserError, match=r"model_0000001\.pth isn't saved.*finite"):
        checkpointer.save("model_0000001")
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000000.pth"
    assert not (tmp_path / "model_0000001.pth").exists()
    torch.save({"model": model.state_dict()}, tmp_path / "other.pth")
    with pytest.raises(UserError, match=r"other\.pth .*finite"):
        load_checkpoint(nn.Linear(2, 1), str(tmp_path / "other.pth"))
    with pytest.raises(UserError, match=r"The model.*finite"):
        do_test(Run.of(load_config(CONFIG)), model)


@pytest.mark.parametrize("ema", [True, False])
def test_eval_only_gives_the_same_numbers(train_net, tmp_path, ema):
    options = [f"train.ema.enabled={ema}"]
    assert train_net(f"train.output_dir={tmp_path / 'a'}", *options) == 0
    weights = f"train.init_checkpoint={tmp_path / 'a' / 'model_final.pth'}"
    assert train_net("--eval-only", weights, f"train.output_dir={tmp_path / 'b'}", *options) == 0
    assert results(tmp_path / "b/eval") == results(tmp_path / "a")
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["eval"]
    assert (tmp_path / "b/eval/config.yaml").exists()


def test_eval_only_leaves_what_the_training_left(train_net, trained):
    before = {path: path.read_bytes() for path in trained.iterdir() if path.is_file()}
    weights = f"train.init_checkpoint={trained / 'model_best.pth'}"
    assert train_net("--eval-only", weights, f"train.output_dir={trained}", "train.seed=9") == 0
    after = {path: path.read_bytes() for path in trained.iterdir() if path.is_file()}
    assert after == before
    assert {"results.json", "config.yaml", "log.txt"} <= {
        path.name for path in (trained / "eval").iterdir()
    }


def test_resuming_a_finished_run_evaluates_it(train_net, trained):
    expected = results(trained)
    for max_iter in (6, 2):  # finished, and beyond
        (trained / "results.json").unlink()
        args = ("--resume", f"train.output_dir={trained}", f"train.max_iter={max_iter}")
        assert train_net(*args) == 0
        assert results(trained) == expected


def test_resuming_with_another_model_is_an_error(train_net, trained, capsys):
    args = ("--resume", f"train.output_dir={trained}", "train.max_iter=9")
    assert train_net(*args, "model.dim=9") == 1
    assert "of another model: net." in capsys.readouterr().err


def test_resuming_with_other_frozen_parts_is_an_error(train_net, trained, capsys):
    args = ("--resume", f"train.output_dir={trained}", "train.max_iter=9")
    assert train_net(*args, "train.frozen=[net.0]") == 1
    assert "trained other parameters" in capsys.readouterr().err


def test_resuming_from_a_damaged_run_is_an_error(train_net, trained, tmp_path, capsys):
    best = (trained / "model_best.pth").read_bytes()  # weights alone
    torn = (trained / "model_0000002.pth").read_bytes()[:-99]
    for i, (content, message) in enumerate(
        {
            None: "model_0000002.pth, to resume from, doesn't exist (train.output_dir); name",
            torn: "model_0000002.pth can't be resumed from (",
            best: "holds weights alone",
        }.items()
    ):
        folder = interrupt(trained, tmp_path / str(i), 3)
        (folder / "model_0000002.pth").unlink()
        if content is not None:
            (folder / "model_0000002.pth").write_bytes(content)
        assert train_net("--resume", f"train.output_dir={folder}") == 1
        (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error: ")]
        assert message in line
    folder = interrupt(trained, tmp_path / "best", 3)
    (folder / "model_best.json").write_text('{"metric": ')
    assert train_net("--resume", f"train.output_dir={folder}") == 1
    assert "model_best.json isn't readable" in capsys.readouterr().err


def test_resuming_without_a_checkpoint_trains_anew_and_says_so(train_net, tmp_path):
    assert train_net("--resume", f"train.output_dir={tmp_path}", "train.max_iter=1") == 0
    assert (
        f"Nothing to resume in {tmp_path} (train.output_dir)" in (tmp_path / "log.txt").read_text()
    )


def test_no_iterations_evaluates_the_initial_weights(train_net, trained, tmp_path):
    init = f"train.init_checkpoint={trained / 'model_final.pth'}"
    args = ("train.max_iter=0", "train.ema.enabled=false", init)
    assert train_net(*args, f"train.output_dir={tmp_path / 'b'}") == 0
    assert results(tmp_path / "b")["bbox"]["AP"] != results(trained)["bbox"]["AP"]  # no average


def test_training_without_a_test_set_is_not_evaluated(train_net, tmp_path):
    assert train_net(f"train.output_dir={tmp_path}", "dataloader.test=null") == 0
    assert (tmp_path / "model_final.pth").exists() and not (tmp_path / "results.json").exists()


def test_best_checkpoint_outlives_an_interruption(train_net, trained, tmp_path):
    """A resumed run doesn't replace the best weights by worse ones."""
    resumed = interrupt(trained, tmp_path / "resumed", 3)
    (resumed / "model_best.pth").write_bytes(b"better than anything")
    record = {"metric": "bbox/AP", "value": 1e6, "iteration": 2}
    (resumed / "model_best.json").write_text(json.dumps(record))
    assert train_net("--resume", f"train.output_dir={resumed}") == 0
    assert (resumed / "model_best.pth").read_bytes() == b"better than anything"
    assert (resumed / "last_checkpoint").read_text() == "model_final.pth"


def test_bf16_trains_and_evaluates_on_a_cpu(train_net, trained, tmp_path):
    assert train_net("train.amp.enabled=true", f"train.output_dir={tmp_path / 'b'}") == 0
    exact, rounded = (results(folder)["bbox"]["AP"] for folder in (trained, tmp_path / "b"))
    assert exact != rounded == pytest.approx(exact, abs=0.05)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["train.max_itr=3"], "did you mean train.max_iter?"),
        (["--eval-only"], "--eval-only needs weights"),
        (["--eval-only", "train.init_checkpoint=nothing.pth"], "nothing.pth"),
        (["train.init_checkpoint=nothing.pth"], "nothing.pth"),
        (["train.amp={enabled:true,dtype:fp16}"], "needs a GPU"),
        (["train.amp={enabled:true,dtype:fp8}"], 'train.amp.dtype is "fp8"'),
        (["train.device=tpu"], 'train.device is "tpu"'),
        (["train.device=cuda:99"], 'train.device is "cuda:99"'),
        (["train.device=meta"], 'train.device is "meta"; it must be cpu, cuda'),
        pytest.param(
            ["train.device=xpu"],
            'train.device is "xpu", and this machine has 0 of "xpu"',
            marks=pytest.mark.skipif(torch.xpu.is_available(), reason="there is one"),
        ),
        (["train.ema.decay=2"], "train.ema.decay is 2.0; it must be at least 0 and below 1"),
        (["train.max_iter=null"], "train.max_iter"),
        (["train.max_iter=many"], "train.max_iter"),
        (["train.accumulation_steps=0"], "train.accumulation_steps is 0"),
        (["dataloader.train.total_batch_size=0"], "dataloader.train.total_batch_size is 0"),
        (["dataloader.train.dataset.size=0"], "no images"),
        (["dataloader.test.num_workers=-1"], "dataloader.test.num_workers is -1"),
        (["train.checkpointer.max_to_keep=0"], "train.checkpointer.max_to_keep is 0"),
        (["train.clip_grad.max_norm=-1"], "train.clip_grad.max_norm is -1.0"),
        (["optimizer.lr=-1"], "optimizer.lr is -1.0; it must be at least 0"),
        (["--num-gpus", "0"], "--num-gpus is 0"),
        (["--num-machines", "2"], "--dist-url"),
    ],
)
def test_errors_end_with_one_line(train_net, tmp_path, capsys, args, message):
    flags = [a for a in args if "=" not in a]
    assert train_net(*flags, f"train.output_dir={tmp_path}", *[a for a in args if "=" in a]) == 1
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(error) == 1 and message in error[0]


@pytest.mark.parametrize("below", ["", "/run"])
def test_an_output_folder_that_cannot_be_made_is_named(train_net, tmp_path, capsys, below):
    (tmp_path / "file").touch()
    path = f"{tmp_path}/file{below}"
    assert train_net(f"train.output_dir={path}") == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: '{path}' (train.output_dir) can't be written to (")


def test_eval_only_names_a_checkpoint_without_average(train_net, tmp_path, capsys):
    assert train_net(f"train.output_dir={tmp_path}", "train.ema.enabled=false") == 0
    weights = f"train.init_checkpoint={tmp_path / 'model_final.pth'}"
    assert train_net("--eval-only", f"train.output_dir={tmp_path}", weights) == 1
    assert "holds no averaged weights" in capsys.readouterr().err


STANDING = ("optimizer.lr=0.0", "train.eval_period=1", "train.checkpointer.period=100")


def evaluations(folder):
    lines = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
    return [line["iteration"] + 1 for line in lines if "evaluation_time" in line]


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_training_ends_when_nothing_gets_better(train_net, ranks, tmp_path, processes):
    words = (f"train.output_dir={tmp_path}", *STANDING)
    words += ("train.early_stop.patience=2", "train.log_period=1")
    if processes == 1:
        assert train_net(*words) == 0
    else:
        for process in ranks("train_net.py", "--config-file", CONFIG, *words):
            assert process.returncode == 0, process.stderr
    # The first is the best; two more, and none at the end once more.
    assert evaluations(tmp_path) == [1, 2, 3]
    assert checkpoint(tmp_path)["iteration"] == 2
    assert (tmp_path / "last_checkpoint").read_text() == "model_final.pth"


def test_patience_outlives_an_interruption(train_net, tmp_path):
    words = (f"train.output_dir={tmp_path}", "train.log_period=1", *STANDING)
    assert train_net(*words, "train.max_iter=2") == 0
    assert train_net("--resume", *words, "train.early_stop.patience=3") == 0
    assert checkpoint(tmp_path)["iteration"] == 3  # the best was after the first
    assert train_net("--resume", *words, "train.early_stop.patience=3") == 0
    assert checkpoint(tmp_path)["iteration"] == 3
    assert train_net("--resume", *words, "train.early_stop.patience=4") == 0
    assert checkpoint(tmp_path)["iteration"] == 4


@pytest.mark.parametrize("missing", ["train.eval_period=0", "train.best_metric=''"])
def test_patience_needs_something_to_look_at(train_net, tmp_path, capsys, missing):
    words = (f"train.output_dir={tmp_path}", "train.early_stop.patience=2", missing)
    assert train_net(*words) == 1
    assert "needs evaluations to look at" in capsys.readouterr().err


def test_an_option_counts_after_the_overrides_too(train_net, trained, capsys):
    assert train_net(f"train.output_dir={trained}", "train.max_iter=7", "--resume") == 0
    assert checkpoint(trained)["iteration"] == 6


def test_a_metric_without_a_value_gives_way_to_another(train_net, trained, tmp_path, capsys):
    # The toy's APs is NaN: it has no such objects.
    words = ("train.best_metric=bbox/APs", "train.early_stop.patience=1", "train.eval_period=1")
    assert train_net(*words, f"train.output_dir={tmp_path / 'b'}", "train.max_iter=3") == 0
    assert "the best weights are those of the best bbox/AP" in capsys.readouterr().out
    record = json.loads((tmp_path / "b/model_best.json").read_text())
    assert record["metric"] == "bbox/AP" and (tmp_path / "b/model_best.pth").is_file()
    assert train_net("--resume", *words, f"train.output_dir={tmp_path / 'b'}") == 0


def test_skipped_iterations_are_counted_at_the_end(train_net, tmp_path, capsys, monkeypatch):
    steps = iter([True, False, False])
    monkeypatch.setattr(Trainer, "_agree", lambda self, finite: next(steps))
    words = ("train.max_iter=3", f"train.output_dir={tmp_path}", "train.eval_period=0")
    assert train_net(*words) == 0
    assert "2 of 3 iterations were skipped" in capsys.readouterr().out


def test_a_run_stays_where_its_successor_comes_to_nothing(train_net, trained, capsys):
    before = {p.name: p.read_bytes() for p in trained.iterdir() if p.suffix != ".txt"}
    words = (f"train.output_dir={trained}", "train.overwrite=true")
    assert train_net(*words, "dataloader.train.dataset.size=0", "train.epochs=1") == 1
    left = {p.name: p.read_bytes() for p in trained.iterdir() if p.suffix != ".txt"}
    assert left == before
    assert train_net(*words, f"train.init_checkpoint={trained}/model_final.pth") == 1
    assert "is a file of the run that train.overwrite=true replaces" in capsys.readouterr().err
    assert (trained / "model_final.pth").is_file()
    assert train_net(*words, "train.max_iter=2") == 0
    assert checkpoint(trained)["iteration"] == 1 and not (trained / ".replaced_run").exists()
    assert "until this one has a checkpoint" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["what? [x] now", "a{b},c=d", "ü 'q' #1%20"])
def test_whatever_the_folder_is_called_the_run_goes_on(train_net, tmp_path, capfd, name):
    folder = tmp_path / name
    word = f"train.output_dir={folder}"
    assert train_net(word, "train.max_iter=2", "train.checkpointer.period=1") == 0
    assert train_net(word, "--resume", "train.max_iter=3") == 0
    printed = capfd.readouterr().out
    command = printed[printed.rindex("python train_net.py") : printed.rindex("tensorboard")]
    words = shlex.split(command.replace("\\\n", " "))[2:]
    assert train_net("--allow", "toy_training", *words) == 0
    assert results(folder / "eval") == results(folder)
