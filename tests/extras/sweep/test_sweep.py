"""The command line, on the toy."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from paths import CONFIG, ROOT, TOYS

pytestmark = pytest.mark.slow


@pytest.fixture
def sweep(start, tmp_path):
    """Start the command line on a config."""

    def run(*words, config=CONFIG, ignored=None):
        command = ("tools/sweep.py", "--config-file", config, "--output", tmp_path / "sweep")
        paths = os.pathsep.join(map(str, (tmp_path, TOYS, ROOT / "projects/imTED")))
        return start(*command, *words, ignored=ignored, PYTHONPATH=paths)

    return run


def members(group: int) -> list[str]:
    """Return the command lines of the processes of a group."""
    lines = subprocess.run(["ps", "-eo", "pgid=,args="], capture_output=True, text=True).stdout
    rows = (line.split(maxsplit=1) for line in lines.splitlines())
    return [args for pgid, args in rows if int(pgid) == group and "<defunct>" not in args]


def test_a_sweep_runs_goes_on_and_compares(sweep, shell, tmp_path):
    words = ["train.max_iter=2", "optimizer.lr=0.1,0.2"]
    out, err = sweep(*words).communicate(timeout=240)
    folder = tmp_path / "sweep"
    assert "finished  lr-0.1" in out and "| lr-0.2" in out, err
    weights = torch.load(folder / "lr-0.2/model_final.pth", weights_only=True)["model"]
    written = (folder / "lr-0.2/model_final.pth").stat().st_mtime_ns
    # One more point: only this runs.
    out, err = sweep("train.max_iter=2", "optimizer.lr=0.2,0.3").communicate(timeout=240)
    assert "2 runs, of which 1 are finished" in out, err
    assert (folder / "lr-0.2/model_final.pth").stat().st_mtime_ns == written
    assert len((folder / "runs.csv").read_text().splitlines()) == 4
    # What a sweep trains is what train_net.py trains.
    done = shell(
        *("train_net.py", "--config-file", CONFIG, "train.max_iter=2", "optimizer.lr=0.2"),
        f"train.output_dir={tmp_path}/alone",
    )
    assert done.returncode == 0, done.stderr
    alone = torch.load(tmp_path / "alone/model_final.pth", weights_only=True)["model"]
    assert all(torch.equal(alone[key], value) for key, value in weights.items())


def test_one_failure_does_not_stop_the_others(sweep, tmp_path):
    # What goes wrong only shows while they train.
    (tmp_path / "failing.py").write_text(
        "from toy_config import *\n"
        "import toy_training\n"
        "class Mapper(toy_training.RandomMapper):\n"
        "    def __init__(self, fault):\n"
        "        super().__init__()\n"
        "        self.fault = fault\n"
        "    def __call__(self, sample):\n"
        "        from imted.errors import UserError\n"
        "        if self.fault == 'refused': raise UserError('image 7 is missing.')\n"
        "        if self.fault == 'killed':\n"
        "            print('noise', file=__import__('sys').stderr, flush=True)\n"
        "            __import__('os').kill(__import__('os').getpid(), 9)\n"
        "        return super().__call__(sample)\n"
        "dataloader['train'].mapper = L(Mapper)(fault='none')\n"
        "train['max_iter'] = 2\n"
    )
    process = sweep(
        "dataloader.train.mapper.fault=refused,killed,none", config=tmp_path / "failing.py"
    )
    out, _ = process.communicate(timeout=240)
    assert process.returncode == 1
    assert "failed    fault-refused: image 7 is missing." in out
    assert "failed    fault-killed: ended from outside without a result" in out
    assert "finished  fault-none" in out and "| fault-none" in out


@pytest.mark.skipif(sys.platform != "linux", reason="reads processes as Linux lists them")
@pytest.mark.parametrize("background", [False, True])
def test_a_signal_saves_and_leaves_nothing_behind(sweep, tmp_path, background):
    (tmp_path / "slow.py").write_text(
        "from toy_config import *\n"
        "import time, toy_training\n"
        "class Mapper(toy_training.RandomMapper):\n"
        "    def __call__(self, sample):\n"
        "        time.sleep(0.02)\n"
        "        return super().__call__(sample)\n"
        "dataloader['train'].mapper = L(Mapper)()\n"
        "train.update(max_iter=100, eval_period=0, checkpointer=dict(period=1000))\n"
    )
    ignored = signal.SIGINT if background else None  # as a shell starts what ends in "&"
    words = ("optimizer.lr=0.1,0.2", "--jobs", "1")
    process = sweep(*words, config=tmp_path / "slow.py", ignored=ignored)
    metrics = tmp_path / "sweep/lr-0.1/metrics.json"
    end = time.monotonic() + 240
    while not (metrics.exists() and metrics.read_text().count("\n") > 2):
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.1)
    if background:
        process.terminate()
    else:
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does it
    _, err = process.communicate(timeout=240)
    assert process.returncode == 1 and err == (
        "error: Stopped; what ran has been saved. The same command goes on from there.\n"
    )
    assert members(process.pid) == []
    saved = torch.load(tmp_path / "sweep/lr-0.1/model_stopped.pth", weights_only=True)
    assert saved["iteration"] > 0
    if background:
        return  # what follows is the same
    out, err = sweep("optimizer.lr=0.1", config=tmp_path / "slow.py").communicate(timeout=240)
    assert "finished  lr-0.1" in out, err
    log = (tmp_path / "sweep/lr-0.1/log.txt").read_text()
    assert "model_stopped.pth" in log


def test_commands_to_run_elsewhere(sweep, tmp_path):
    process = sweep("optimizer.lr=0.1,0.2", "--launcher", "print")  # in any order
    out, err = process.communicate(timeout=240)
    assert out.splitlines() == [
        f"python train_net.py --config-file {CONFIG} optimizer.lr={rate} "
        f"train.output_dir={tmp_path}/sweep/lr-{rate}"
        for rate in (0.1, 0.2)
    ], err


def test_without_submitit_a_sweep_says_so_and_a_report_works(sweep, tmp_path):
    (tmp_path / "submitit.py").write_text("raise ModuleNotFoundError(name='submitit')")
    _, err = sweep("optimizer.lr=0.1").communicate(timeout=240)
    assert err == (
        "error: A sweep needs the package submitit; pip install submitit (docs/sweeps.md).\n"
    )
    (tmp_path / "run").mkdir()
    (tmp_path / "run/results.json").write_text('{"bbox": {"AP": 3.0}}')
    out, err = sweep("--report", str(tmp_path)).communicate(timeout=240)
    assert "| run | 1      | 3.00      |" in out, err
