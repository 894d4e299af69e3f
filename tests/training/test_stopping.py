import os
import signal

import pytest
import torch

from imted.training.trainer import Trainer

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1]


@pytest.fixture
def evaluator(train_net):
    """Return the class of the toy's evaluator, which is importable while the toy is."""
    from toy_training import ToyEvaluator

    return ToyEvaluator


@pytest.fixture
def send_at(monkeypatch):
    """Send a signal to this process in an iteration."""

    def send(signum, iteration):
        run_step = Trainer.run_step

        def interrupted(trainer):
            if trainer.iter == iteration:
                os.kill(os.getpid(), signum)
            run_step(trainer)

        monkeypatch.setattr(Trainer, "run_step", interrupted)

    return send


@pytest.fixture
def whole(train_net, tmp_path):
    assert train_net(f"train.output_dir={tmp_path}/whole") == 0
    return tmp_path / "whole"


def require_equal(one, two):
    """Compare what two runs have left: the files, and the weights in them."""
    names = [
        {path.name for path in run.iterdir() if "tfevents" not in path.name} for run in (one, two)
    ]
    assert names[0] == names[1]
    for name in names[0]:
        if name.endswith(".pth"):
            a, b = (torch.load(run / name, weights_only=True) for run in (one, two))
            torch.testing.assert_close(a, b, rtol=0, atol=0)
    assert (one / "results.json").read_bytes() == (two / "results.json").read_bytes()


@pytest.mark.parametrize("signum", SIGNALS)
@pytest.mark.parametrize("iteration", [2, 3, 5])  # 2 is saved in its turn, 5 is the last
def test_a_run_ends_after_the_iteration(
    train_net, whole, send_at, monkeypatch, tmp_path, capfd, signum, iteration
):
    run = tmp_path / "run"
    send_at(signum, iteration)
    assert train_net(f"train.output_dir={run}") == 128 + signum
    name = signal.Signals(signum).name
    assert f"Stopped by {name} after iteration {iteration + 1} of 6" in capfd.readouterr().err
    saved = {2: "model_0000002.pth", 3: "model_stopped.pth", 5: "model_final.pth"}[iteration]
    assert (run / "last_checkpoint").read_text() == saved
    evaluated = (run / "metrics.json").read_text().count('"evaluation_time"')
    assert evaluated == (iteration > 2)  # the evaluation that is due comes after --resume
    monkeypatch.undo()
    assert train_net("--resume", f"train.output_dir={run}") == 0
    require_equal(whole, run)


def test_an_evaluation_ends_at_once(train_net, whole, evaluator, monkeypatch, tmp_path, capfd):
    run, process = tmp_path / "run", evaluator.process

    def interrupted(self, inputs, outputs):
        os.kill(os.getpid(), signal.SIGTERM)
        process(self, inputs, outputs)

    monkeypatch.setattr(evaluator, "process", interrupted)
    monkeypatch.setattr("imted.training.stopping.BATCHES", 1)
    assert train_net(f"train.output_dir={run}") == 128 + signal.SIGTERM
    assert "Stopped by SIGTERM in an evaluation; --resume" in capfd.readouterr().err
    assert (run / "last_checkpoint").read_text() == "model_0000002.pth"
    monkeypatch.undo()
    assert train_net("--resume", f"train.output_dir={run}") == 0
    require_equal(whole, run)


def test_a_run_killed_in_its_last_evaluation_makes_up_for_it(
    train_net, whole, evaluator, monkeypatch, tmp_path
):
    class Killed(BaseException):
        pass

    def killed(self):
        if len(list((tmp_path / "run").glob("model_final.pth"))):
            raise Killed
        return evaluate(self)

    evaluate = evaluator.evaluate
    monkeypatch.setattr(evaluator, "evaluate", killed)
    with pytest.raises(Killed):
        train_net(f"train.output_dir={tmp_path}/run")
    monkeypatch.undo()
    assert train_net("--resume", f"train.output_dir={tmp_path}/run") == 0
    require_equal(whole, tmp_path / "run")
    metrics = (tmp_path / "run/metrics.json").read_text()
    assert metrics.count('"bbox/AP"') == (whole / "metrics.json").read_text().count('"bbox/AP"')


def test_handlers_are_put_back(train_net, tmp_path):
    before = [signal.getsignal(signum) for signum in SIGNALS]
    assert train_net(f"train.output_dir={tmp_path}/run") == 0
    assert [signal.getsignal(signum) for signum in SIGNALS] == before
