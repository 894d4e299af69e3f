"""The processes of a run: started here, or met under torchrun; and what is said where one ends."""

import gc
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from multiprocessing.queues import SimpleQueue

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from detectron2.engine import launch
from detectron2.engine.launch import DEFAULT_TIMEOUT
from detectron2.utils import comm

from imted.compat import forget_process_groups
from imted.errors import PEER_ENDED, UserError, first_line, sentence_of
from imted.training.stopping import STOP, Stopped


def is_started() -> bool:
    """Tell whether torchrun, or anything that sets the same environment, has started this."""
    env = os.environ
    alone = env.get("WORLD_SIZE") == "1" and "MASTER_ADDR" not in env  # left over, or a cluster's
    return {"RANK", "WORLD_SIZE", "LOCAL_RANK"} <= env.keys() and not alone


def start_processes(
    work: Callable[..., None],
    args: tuple,
    num_gpus: int,
    device: torch.device,
    *,
    num_machines: int = 1,
    machine_rank: int = 0,
    dist_url: str = "auto",
) -> None:
    """Do some work in one process for each GPU of this machine, and wait for all.

    Args:
        work: A function that a new process can import.
        args: Its arguments, which can be pickled.
        num_gpus: Number of processes; one is this process itself. Where there is no GPU they
            share the CPU.
        device: What kind of device they use.
        num_machines: See Detectron2's ``launch``.
        machine_rank: The same.
        dist_url: The same.

    Raises:
        UserError: The machine doesn't have these GPUs, the processes don't meet, or one of them
            raised it.
    """
    check_processes(num_gpus, device, num_machines, machine_rank)
    if not torch.cuda.device_count() and num_gpus > 1:
        print(f"No GPU here: --num-gpus {num_gpus} starts {num_gpus} processes on the CPU.")
    if num_machines > 1:
        print(f"Waiting at {dist_url} for all of {num_machines} machines.", flush=True)
    reports = mp.get_context("spawn").SimpleQueue()
    forwarding = STOP.forwarded() if num_gpus * num_machines > 1 else nullcontext()
    try:
        with forwarding:
            launch(
                _work_and_report,
                num_gpus,
                num_machines=num_machines,
                machine_rank=machine_rank,
                dist_url=dist_url,
                args=(work, args, reports.put),
            )
    except (mp.ProcessExitedException, mp.ProcessRaisedException, SystemExit) as error:
        raise _cause(error, reports, dist_url) from None


def check_processes(
    num_gpus: int, device: torch.device, num_machines: int, machine_rank: int
) -> None:
    """Raise a UserError if `start_processes` can't start these."""
    gpus = torch.cuda.device_count()
    if num_gpus * num_machines > 1:
        _require_processes_of(device)
    if num_gpus < 1:
        raise UserError(f"--num-gpus is {num_gpus}; it must be at least 1.")
    if num_machines < 1:
        raise UserError(f"--num-machines is {num_machines}; it must be at least 1.")
    if not 0 <= machine_rank < num_machines:
        raise UserError(
            f"--machine-rank is {machine_rank}; of {num_machines} machines (--num-machines) it "
            f"must be from 0 to {num_machines - 1}."
        )
    if 0 < gpus < num_gpus and device.type == "cuda":
        raise UserError(f"--num-gpus is {num_gpus}, but this machine has {gpus}.")
    if device.type == "cpu" and gpus and num_gpus * num_machines > 1:
        raise UserError(
            "Several processes on the CPU of a machine with GPUs: hide these with "
            "CUDA_VISIBLE_DEVICES= (set to nothing)."
        )


def _require_processes_of(device: torch.device) -> None:
    if device.type not in ("cpu", "cuda"):
        raise UserError(
            f'train.device is "{device}", on which one process can train; several need cuda or cpu.'
        )


def _work_and_report(
    work: Callable[..., None], args: tuple, report: Callable[[BaseException], None]
) -> None:
    """Work, and hand what ends it to the process that started this one."""
    with leaving_process_group():
        try:
            with STOP.handled():
                work(*args)
        except Stopped as stopped:
            report(stopped)
            leave_process_group()
            sys.exit(stopped.status)
        except Exception as error:
            sentence = sentence_of(error)
            if sentence is None:
                raise
            report(UserError(sentence))
            if PEER_ENDED in sentence:
                time.sleep(2)  # the process that ends first is the one whose end is reported
            sys.exit(1)


def _cause(error: BaseException, reports: SimpleQueue, dist_url: str) -> BaseException:
    """Choose what to say where processes have ended with an error: what came first."""
    if isinstance(error, mp.ProcessRaisedException) and "in init_process_group" in str(error):
        reason = str(error).strip().rpartition("\n")[2]
        return UserError(
            f"The processes of the run don't meet at {dist_url} ({reason}): --dist-url must be "
            "tcp://HOST:PORT of machine 0, where the port is free, the same on all machines, "
            "and reached by all; each has a --machine-rank of its own."
        )
    said = []
    while not reports.empty():
        said.append(reports.get())
    first = [e for e in said if PEER_ENDED not in str(e)]
    if first:
        return first[0]
    if isinstance(error, mp.ProcessExitedException) and error.signal_name:
        killed = (
            f"Process {error.error_index} of this machine was ended by {error.signal_name}, and "
            "the others with it."
        )
        return UserError(str(said[0]).replace(PEER_ENDED, killed) if said else killed)
    return said[0] if said else error


def join_processes(device: torch.device, local_size: int) -> None:
    """Meet the other processes of torchrun, or of anything that sets the same environment.

    Args:
        device: What kind of device they use.
        local_size: How many there are on this machine, where the environment doesn't say it.

    Raises:
        UserError: They don't meet, or the machine doesn't have these GPUs.
    """
    _require_processes_of(device)
    local_rank = int(os.environ["LOCAL_RANK"])
    local_size = int(os.environ.get("LOCAL_WORLD_SIZE", local_size))
    if local_rank >= local_size:
        raise UserError(
            f"LOCAL_RANK is {local_rank}, and this machine is to have {local_size} of the "
            "processes: set LOCAL_WORLD_SIZE to their number, as torchrun does."
        )
    if device.type == "cuda":
        gpus = torch.cuda.device_count()
        if 1 < gpus <= local_rank or not gpus:
            raise UserError(f"More processes than this machine's {gpus} GPUs were started.")
        torch.cuda.set_device(local_rank if gpus > 1 else 0)  # a cluster may show each its own
    world = os.environ["WORLD_SIZE"]
    if os.environ["RANK"] == "0" and world != "1":
        where = ":".join(os.environ.get(f"MASTER_{key}", "?") for key in ("ADDR", "PORT"))
        print(f"Waiting at {where} for all of {world} processes, as the environment has it (RANK, "
              "WORLD_SIZE, ...; unset them to run alone).", flush=True)  # fmt: skip
    try:
        # As long as Detectron2's launch waits: one process evaluates while the others do.
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=DEFAULT_TIMEOUT)
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"The processes of the run don't meet ({first_line(error)}): start them with "
            "torchrun, or set RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR and "
            "MASTER_PORT as it does."
        ) from error
    comm.create_local_process_group(local_size)


@contextmanager
def leaving_process_group() -> Iterator[None]:
    """Leave the process group at the end, but for NCCL's where an error ends this process alone.

    NCCL's would wait for what is under way, which is for the others, who wait for this one: its
    exit is what ends them.
    """
    alone = False
    try:
        yield
    except BaseException as error:
        alone = not isinstance(error, Stopped)  # to which all have agreed
        raise
    finally:
        if not (alone and dist.is_initialized() and dist.get_backend() == "nccl"):
            leave_process_group()


def leave_process_group() -> None:
    """Leave the process group, where there is one, and end its threads.

    A thread of gloo may let go of its last tensor only after the collective is over. Where Python
    is shutting down by then, the process aborts ("terminate called without an active exception").
    Destroying the group joins its threads, but only once nothing refers to it any more.
    """
    if dist.is_initialized():
        forget_process_groups()
        gc.collect()  # a model in the trainer's reference cycles refers to its group, too
        dist.destroy_process_group()
