"""Which processes of a run meet, and how each leaves the others."""

import pytest
import torch

from imted.errors import UserError
from imted.training import distributed
from imted.training.stopping import Stopped


@pytest.fixture
def left(monkeypatch):
    """Say of what kind this process's group is; return what has been done to it."""

    def of(backend):
        done = []
        monkeypatch.setattr(distributed.dist, "is_initialized", lambda: backend is not None)
        monkeypatch.setattr(distributed.dist, "get_backend", lambda: backend)
        monkeypatch.setattr(distributed, "leave_process_group", lambda: done.append("left"))
        return done

    return of


@pytest.mark.parametrize("backend", ["nccl", "gloo", None])
def test_a_run_that_ends_leaves_the_others(left, backend):
    done = left(backend)
    with distributed.leaving_process_group():
        pass
    assert done == ["left"]
    with pytest.raises(Stopped), distributed.leaving_process_group():
        raise Stopped(15, "all have agreed to")
    assert done == ["left", "left"]


@pytest.mark.parametrize(("backend", "leaves"), [("nccl", False), ("gloo", True), (None, True)])
@pytest.mark.parametrize("error", [UserError("memory"), RuntimeError(), SystemExit(1)])
def test_an_error_of_one_process_does_not_wait_for_the_others_gpus(left, backend, leaves, error):
    done = left(backend)
    with pytest.raises(type(error)), distributed.leaving_process_group():
        raise error
    assert bool(done) == leaves


def test_more_processes_than_a_machine_is_said_to_have(monkeypatch):
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    with pytest.raises(UserError, match=r"LOCAL_RANK is 1, .* set LOCAL_WORLD_SIZE"):
        distributed.join_processes(torch.device("cpu"), local_size=1)


@pytest.mark.parametrize(
    ("visible", "rank", "used"), [(8, 3, 3), (1, 3, 0), (1, 0, 0), (2, 2, None)]
)
def test_which_gpu_a_process_takes(monkeypatch, visible, rank, used):
    """Its own of all, or the one that a cluster shows it."""
    env = {"RANK": str(rank), "WORLD_SIZE": "8", "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": "8"}
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    taken = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: visible)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)

    def meet(backend, timeout):
        raise RuntimeError("nobody came")

    monkeypatch.setattr(distributed.dist, "init_process_group", meet)
    message = "don't meet" if used is not None else "this machine's 2 GPUs"
    with pytest.raises(UserError, match=message):
        distributed.join_processes(torch.device("cuda"), local_size=1)
    assert taken == ([used] if used is not None else [])
