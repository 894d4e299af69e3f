"""Two processes on a CPU, as --num-gpus 2 and under torchrun, against one."""

import functools
import json
import os
import re
import signal
import socket
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from fixtures.commands import PATIENCE
from paths import CONFIG

from imted.training import distributed

pytestmark = pytest.mark.slow


# With a learning rate of 1 the step of SGD is the gradient itself. Without dropout nothing is
# random but the augmentation, which follows the image, whatever process it falls to.
PLAIN = (
    "optimizer._target_=torch.optim.SGD",
    "optimizer.lr=1",
    "model.dropout=0",
    "train.clip_grad.enabled=false",
    "train.ema.enabled=false",
    "dataloader.train.aspect_ratio_grouping=false",
    "dataloader.train.total_batch_size=4",
    "train.eval_period=0",
)


# train_net.py, whose processes write down which threads they have left when Python shuts down.
THREADS_AT_EXIT = """
import atexit, os, sys
from pathlib import Path
from imted.training.launcher import main

def write():
    names = [file.read_text().strip() for file in Path("/proc/self/task").glob("*/comm")]
    Path(__file__).with_name(f"threads.{os.getpid()}").write_text(" ".join(names))

atexit.register(write)
if __name__ == "__main__":
    sys.exit(main())
"""


def trained(folder):
    weights = torch.load(folder / "model_final.pth", weights_only=True)["model"]
    return weights, json.loads((folder / "results.json").read_text())


def validation_loss(folder):
    lines = (folder / "metrics.json").read_text().splitlines()
    return json.loads(lines[-1])["validation/total_loss"]


@pytest.fixture
def one_process(train_net, tmp_path):
    """Train in this process; return what came out."""

    def run(*options):
        folder = tmp_path / "one"
        words = (*PLAIN, f"train.output_dir={folder}", "train.overwrite=true")
        assert train_net(*words, *options) == 0
        return trained(folder)

    return run


def train_two(ranks, folder, *options):
    """Train the toy in two processes."""
    words = ("train_net.py", "--config-file", CONFIG, *options, f"train.output_dir={folder}")
    for process in ranks(*words):
        assert process.returncode == 0, process.stderr


def assert_same(two, one):
    torch.testing.assert_close(two[0], one[0], rtol=1e-5, atol=1e-7)
    assert two[1]["bbox"]["AP"] == pytest.approx(one[1]["bbox"]["AP"], rel=1e-5)


OF_ONE_STEP = (*PLAIN, "train.max_iter=1", "train.accumulation_steps=2")


@pytest.fixture(scope="module", params=["--num-gpus", "torchrun"])
def started_by(request, new_python, tmp_path_factory):
    """Train one step in two processes that either way of starting them starts anew."""
    folder = tmp_path_factory.mktemp("two")
    (folder / "script.py").write_text(THREADS_AT_EXIT)
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    words = [*(torchrun if request.param == "torchrun" else ()), str(folder / "script.py")]
    words += ["--num-gpus", "2"] if request.param == "--num-gpus" else []
    words += ["--config-file", CONFIG, *OF_ONE_STEP, f"train.output_dir={folder}"]
    done = new_python(*words)
    assert done.returncode == 0, done.stderr
    return request.param, folder


def test_two_processes_give_the_gradients_of_twice_the_batch(started_by, one_process):
    options = OF_ONE_STEP
    two = trained(started_by[1])
    # The same 8 images, accumulated or all at once.
    assert_same(two, one_process(*options))
    more = ("train.accumulation_steps=1", "dataloader.train.total_batch_size=8")
    assert_same(two, one_process(*options, *more))


OWN = """
from detectron2.config import LazyCall as L
from detectron2.config import LazyConfig
from detectron2.data import DatasetCatalog
from imted.data import dataset_dicts
from toy_training import ToyModel, toy_dataset

toy = LazyConfig.load({config!r})
dataloader, optimizer, lr_multiplier, train = (
    toy[key] for key in ("dataloader", "optimizer", "lr_multiplier", "train")
)

class Mine(ToyModel):
    pass

def mapper(sample):
    return dict(sample)

model = L(Mine)(dropout=0.2)
dataloader.test.mapper = mapper
if "registered_here" not in DatasetCatalog.list():
    DatasetCatalog.register(
        "registered_here", lambda: [dict(d, file_name=__file__) for d in toy_dataset()]
    )
for split in (dataloader.train, dataloader.test):
    split.dataset = L(dataset_dicts)(names="registered_here", filter_empty=False)
del split
"""


def test_a_config_may_define_classes_and_functions_and_register_data(shell, tmp_path):
    """Which the processes can't import: they are handed them, and register the data, too."""
    (tmp_path / "own.py").write_text(OWN.format(config=CONFIG))
    command = ("train_net.py", "--num-gpus", 2, "--config-file", tmp_path / "own.py")
    words = (*command, f"train.output_dir={tmp_path / 'run'}", "train.max_iter=1")
    process = shell(*words, forks=False)
    assert process.returncode == 0, process.stderr[-2000:]
    assert trained(tmp_path / "run")


def test_training_goes_on_as_one_process_does(one_process, ranks, toy_config, tmp_path):
    options = (*PLAIN, "optimizer.lr=0.1", "train.max_iter=4", "train.accumulation_steps=1")
    options += ("train.validation_loss=true",)
    train_two(ranks, tmp_path / "two", *options)
    assert_same(trained(tmp_path / "two"), one_process(*options))
    one, two = (validation_loss(tmp_path / name) for name in ("one", "two"))
    assert two == pytest.approx(one, rel=1e-5)


def test_two_machines_train_as_one_process_does(one_process, start, toy_config, tmp_path):
    """Two launches here stand for them, one process each, with one folder that both see."""
    options = (*PLAIN, "optimizer.lr=0.1", "train.max_iter=4", "train.accumulation_steps=1")
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"tcp://127.0.0.1:{server.getsockname()[1]}"

    def launched(rank):
        machine = ("--num-machines", 2, "--machine-rank", rank, "--dist-url", url)
        command = ("train_net.py", *machine, "--config-file", toy_config)
        return start(*command, *options, f"train.output_dir={tmp_path / 'two'}")

    for process in [launched(0), launched(1)]:
        error = process.communicate(PATIENCE)[1]
        assert process.returncode == 0, error
    assert_same(trained(tmp_path / "two"), one_process(*options))


def test_frozen_parts_stay_as_they_are_in_two_processes(one_process, ranks, toy_config, tmp_path):
    options = (*PLAIN, "train.max_iter=2", "train.accumulation_steps=1", "optimizer.lr=0.1")
    options += ("model.batch_norm=true", "train.frozen=[norm,net.0]")
    train_two(ranks, tmp_path / "two", *options)
    two = trained(tmp_path / "two")
    assert two[0]["norm.running_var"].tolist() == [1, 1, 1, 1]
    assert_same(two, one_process(*options))


def test_gradients_sent_in_bfloat16_are_rounded_and_no_more(
    one_process, ranks, toy_config, tmp_path
):
    options = ("train.max_iter=1", "train.accumulation_steps=1")

    def stepped(name, *more):
        train_two(ranks, tmp_path / name, *PLAIN, *options, *more)
        return trained(tmp_path / name)[0]

    start, _ = one_process(*options, "optimizer.lr=0")
    exact = stepped("exact")
    sent = stepped("sent", "train.ddp.bf16_compression=true")
    differ = False
    for name, weight in start.items():
        gradient, rounded = weight - exact[name], weight - sent[name]
        # Of each of two processes, then of their sum: three roundings of 8 bits.
        largest = gradient.abs().max().item()
        torch.testing.assert_close(rounded, gradient, rtol=0, atol=3 * 2**-8 * largest + 1e-7)
        differ |= not torch.equal(rounded, gradient)
    assert differ


def test_a_sharded_optimizer_trains_saves_and_resumes_as_a_whole_one(ranks, toy_config, tmp_path):
    def train(name, *options):
        train_two(ranks, tmp_path / name, *options, "train.ema.enabled=false")
        return torch.load(tmp_path / name / "model_final.pth", weights_only=True)

    whole, sharded = train("whole"), train("sharded", "train.shard_optimizer=true")
    torch.testing.assert_close(sharded, whole, rtol=1e-6, atol=1e-8)
    assert len(whole["trainer"]["optimizer"]["state"]) == 4  # of two layers
    (tmp_path / "whole/last_checkpoint").write_text("model_0000002.pth")
    resumed = train("whole", "--resume", "train.shard_optimizer=true")
    torch.testing.assert_close(resumed, whole, rtol=1e-6, atol=1e-8)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux's list of threads")
def test_no_thread_of_the_process_group_is_left_at_exit(started_by):
    """One that is left may abort a run that has ended well."""
    way, folder = started_by
    threads = [file.read_text() for file in folder.glob("threads.*")]
    assert len(threads) == (3 if way == "--num-gpus" else 2)  # with the one that started them
    assert "gloo" not in " ".join(threads)


def test_error_in_started_processes_ends_with_one_line(shell, toy_config, tmp_path):
    args = ("train_net.py", "--num-gpus", 2, "--config-file", toy_config)
    options = ("dataloader.train.total_batch_size=3", f"train.output_dir={tmp_path}")
    process = shell(*args, *options)
    assert process.returncode == 1
    assert process.stderr.count("error: ") == 1
    assert "total_batch_size is 3; it must be a positive multiple" in process.stderr
    assert "Traceback" not in process.stdout + process.stderr


@pytest.fixture
def two_processes(start, toy_config, tmp_path):
    """Start a long run of two processes, and wait for its first checkpoint.

    It never evaluates: a signal in an evaluation ends it with another sentence.
    """
    process = start(
        *("train_net.py", "--config-file", toy_config, "--num-gpus", 2),
        *("train.max_iter=1000000", "train.log_period=100", "train.eval_period=0"),
        f"train.output_dir={tmp_path}/run",
        forks=False,
    )
    end = time.monotonic() + 240
    while not (tmp_path / "run/last_checkpoint").is_file():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end, "no checkpoint yet"
        time.sleep(0.1)
    return process


def training_processes(process):
    """Return the ids of the processes that train."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(c) for c in children if "spawn_main" in Path(f"/proc/{c}/cmdline").read_text()]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_signal_to_one_process_ends_all_after_the_same_iteration(two_processes, tmp_path):
    os.kill(training_processes(two_processes)[1], signal.SIGUSR1)
    error = two_processes.communicate(timeout=240)[1].strip()
    assert two_processes.returncode == 128 + signal.SIGUSR1
    assert re.fullmatch(r"Stopped by \w+ after iteration \d+ of 1000000, which is saved .*", error)
    number = int(re.search(r"iteration (\d+)", error)[1])
    name = (tmp_path / "run/last_checkpoint").read_text()
    saved = torch.load(tmp_path / "run" / name, weights_only=True)
    assert saved["iteration"] == saved["trainer"]["iteration"] == number - 1


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_killed_process_ends_the_others_in_one_sentence(two_processes, tmp_path):
    os.kill(training_processes(two_processes)[1], signal.SIGKILL)
    error = two_processes.communicate(timeout=240)[1].strip()
    assert two_processes.returncode == 1
    assert error.startswith("error: Process 1 of this machine was ended by SIGKILL")
    last = (tmp_path / "run/last_checkpoint").read_text()
    assert f"the last good checkpoint is {last} (--resume)" in error
    torch.load(tmp_path / "run" / last, weights_only=True)


def test_a_machine_that_is_none_of_them(train_net, capfd):
    words = ("--num-machines", "2", "--machine-rank", "5", "--dist-url", "tcp://127.0.0.1:1")
    assert train_net(*words) == 1
    assert (
        "--machine-rank is 5; of 2 machines (--num-machines) it must be" in capfd.readouterr().err
    )


@pytest.mark.parametrize(
    ("rank", "url", "reason"),
    [
        (0, "tcp://127.0.0.1:{port}", "1/2 clients joined"),
        (1, "tcp://127.0.0.1:{port}", "timed out"),
        (0, "tcp://127.0.0.1:{taken}", "address already in use"),
        (1, "127.0.0.1:{port}", "No rendezvous handler"),
    ],
)
def test_machines_that_do_not_meet(train_net, monkeypatch, capfd, tmp_path, rank, url, reason):
    """The other machine isn't there; the port is another program's; the address is none."""
    soon = functools.partial(distributed.launch, timeout=timedelta(seconds=3))
    monkeypatch.setattr(distributed, "launch", soon)
    # Where no module has to be imported anew.
    start = functools.partial(torch.multiprocessing.start_processes, start_method="forkserver")
    monkeypatch.setattr(torch.multiprocessing, "start_processes", start)
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # nobody listens there
        ports = {"port": free.getsockname()[1], "taken": taken.getsockname()[1]}
        if rank == 0:
            free.close()
        url = url.format(**ports)
        words = ("--num-machines", "2", "--machine-rank", rank, "--dist-url", url)
        assert train_net(*words, f"train.output_dir={tmp_path}") == 1
    out, err = capfd.readouterr()
    assert f"Waiting at {url} for all of 2 machines" in out
    error = err[err.index("error: ") :]
    assert f"don't meet at {url} (" in error and reason in error and "\n" not in error.strip()
    assert "Traceback" not in err


def test_processes_that_are_not_told_where_to_meet(train_net, monkeypatch, capfd, tmp_path):
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    assert train_net(f"train.output_dir={tmp_path}") == 1
    error = capfd.readouterr().err
    assert error.startswith("error: The processes of the run don't meet (") and "torchrun" in error


def test_who_waits_for_others_says_so(train_net, monkeypatch, capfd, tmp_path):
    """They may be there by the environment alone, which another command has left."""
    left = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "10.0.0.1"}
    for name, value in {**left, "MASTER_PORT": "29500"}.items():
        monkeypatch.setenv(name, value)

    def wait(backend, timeout):
        raise RuntimeError("nobody came")

    monkeypatch.setattr(distributed.dist, "init_process_group", wait)
    assert train_net(f"train.output_dir={tmp_path}") == 1
    assert "Waiting at 10.0.0.1:29500 for all of 2 processes" in capfd.readouterr().out


def test_one_process_of_one_needs_no_place_to_meet(train_net, monkeypatch, tmp_path):
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    assert train_net(f"train.output_dir={tmp_path}", "train.max_iter=1") == 0
