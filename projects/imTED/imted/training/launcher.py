"""The command line behind train_net.py: from its words to the run in its folder."""

import argparse
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial

import torch
from detectron2.config import LazyConfig
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from detectron2.utils.serialize import PicklableWrapper
from omegaconf import DictConfig, OmegaConf

from imted import allowed
from imted.atomic import make_folder
from imted.config.compare import FlatConfig, changes, read_flat
from imted.config.dataset import register_dataset
from imted.config.resolve import Run, resolve
from imted.config.saved import write_config
from imted.errors import UserError, exit_status
from imted.processes import on_main_process
from imted.run_folder import (
    CONFIG,
    locked,
    prepare,
    read_last,
    refuse_others,
    restore_replaced,
)
from imted.training.console import (
    log_environment,
    show_changes,
    show_start,
    silence_threads,
    start_logging,
)
from imted.training.distributed import (
    check_processes,
    is_started,
    join_processes,
    leaving_process_group,
    start_processes,
)
from imted.training.evaluate import evaluate_checkpoint
from imted.training.stopping import STOP, Stopped
from imted.training.train import do_train

DESCRIPTION = (
    "Train a detector or a masked autoencoder that a LazyConfig describes, or evaluate it."
)
EPILOG = """\
key=value
  changes any value of the config, such as train.max_iter=9000 or optimizer.lr=5e-5. Lists are
  written [1,2], groups {a:1}. A key that doesn't exist, or a value of another type, is an error.
  configs/common/train.py explains the keys of train.

examples
  python train_net.py --config-file configs/quickstart.py
  python train_net.py --config-file configs/quickstart.py train.max_iter=3200
  python train_net.py --config-file output/quickstart/config.yaml --resume
  python train_net.py --config-file output/quickstart/config.yaml --eval-only \\
      train.init_checkpoint=output/quickstart/model_best.pth

several GPUs, several machines
  python train_net.py --config-file configs/coco/imted_mask_rcnn_vit_base_3x.py --num-gpus 8
  torchrun --nproc-per-node 8 train_net.py \\
      --config-file configs/coco/imted_mask_rcnn_vit_base_3x.py
  two machines: --num-machines 2 --machine-rank 0 --dist-url tcp://ADDRESS-OF-MACHINE-0:29500 on
  the first, the same with --machine-rank 1 on the second
"""


def argument_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line; its flags are those of Detectron2's trainers."""
    parser = argparse.ArgumentParser(
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--config-file", default="", metavar="FILE",
        help="a LazyConfig (.py), or the config.yaml that a run has left")  # fmt: skip
    add("--resume", action="store_true",
        help="continue the run in train.output_dir from its last checkpoint")  # fmt: skip
    add("--eval-only", action="store_true",
        help="evaluate train.init_checkpoint; writes into the folder eval of "
        "train.output_dir")  # fmt: skip
    add("--num-gpus", type=int, default=1, metavar="N",
        help="GPUs of this machine, one process each; where there is none, N processes on the "
        "CPU (default: 1)")  # fmt: skip
    add("--num-machines", type=int, default=1, metavar="N", help="machines (default: 1)")
    add("--machine-rank", type=int, default=0, metavar="K",
        help="which of them this is, from 0 (default: 0)")  # fmt: skip
    add("--dist-url", default="auto", metavar="URL",
        help="where the processes meet; auto on one machine, else tcp://HOST:PORT")  # fmt: skip
    allowed.add_option(parser)
    add("opts", nargs="*", metavar="key=value", help="see below")
    return parser


@exit_status
def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit status; a user's error prints one line."""
    args = argument_parser().parse_intermixed_args(argv)
    try:
        with STOP.handled():
            _main(args)
    except Stopped as stopped:
        if os.environ.get("RANK", "0") == "0":  # under torchrun each process comes here
            print(stopped, file=sys.stderr)
        return stopped.status
    return 0


def _main(args: argparse.Namespace) -> None:
    """Resolve the config, and run it: here, or in processes that are handed what it came to."""
    with leaving_process_group():
        run = resolve(
            args.config_file,
            args.opts,
            allow=args.allow,
            evaluation=args.eval_only,
            num_machines=args.num_machines,
            start=partial(_claim, args),
        )
        if is_started():
            _run(run, args)
            return
        start_processes(
            PicklableWrapper(partial(_run, run, args)),  # a config's own classes are no module's
            (),
            args.num_gpus,
            run.device,
            num_machines=args.num_machines,
            machine_rank=args.machine_rank,
            dist_url=args.dist_url,
        )


@contextmanager
def _claim(args: argparse.Namespace, cfg: DictConfig, device: torch.device) -> Iterator[None]:
    """Join the other processes or see that they can be started; then have the run's folder."""
    if is_started():
        join_processes(device, args.num_gpus)
    elif args.num_machines > 1 and args.dist_url == "auto":
        raise UserError("--num-machines needs --dist-url tcp://<address of machine 0>:<port>.")
    else:
        check_processes(args.num_gpus, device, args.num_machines, args.machine_rank)
    folder = cfg.train.output_dir
    if args.resume and not any(word.startswith("train.output_dir=") for word in args.opts):
        _require_own_folder(args.config_file, folder)
    make_folder(folder, "train.output_dir")
    with ExitStack() as stack:
        if args.machine_rank == 0:  # the others see the same folder
            on_main_process(lambda: stack.enter_context(locked(folder)))
            on_main_process(lambda: refuse_others(folder, args.config_file))
            if not args.eval_only:
                overwrite, reads = cfg.train.overwrite, _paths_to_read(cfg)
                on_main_process(lambda: prepare(folder, args.resume, overwrite, reads))
        start_logging(folder, comm.get_rank() or args.machine_rank * args.num_gpus)
        with _giving_back(folder, args):
            yield


def _require_own_folder(config_file: str, folder: str) -> None:
    """Refuse to resume by the config of a run that was moved or copied, which names its old place.

    Raises:
        UserError: It is one; there, the training would start anew, or go on with another's.
    """
    here = os.path.dirname(config_file) or "."
    own = os.path.realpath(here) == os.path.realpath(folder)
    if os.path.basename(config_file) == CONFIG and read_last(here) and not own:
        raise UserError(
            f"{config_file} is of a run that was in {folder} (train.output_dir) and is in {here} "
            f"now; to resume it here, add {shlex.quote(f'train.output_dir={here}')}."
        )


@contextmanager
def _giving_back(folder: str, args: argparse.Namespace) -> Iterator[None]:
    """Bring back the run that this one was to replace, where it ends without a checkpoint."""
    try:
        yield
    except BaseException:
        if comm.is_main_process() and args.machine_rank == 0 and not read_last(folder):
            restore_replaced(folder)
        raise


def _paths_to_read(cfg: DictConfig) -> dict[str, str]:
    """Return the files that a run reads, by the keys that name them."""
    keys = ("train.init_checkpoint", "dataset.train_json", "dataset.val_json")
    values = {key: OmegaConf.select(cfg, key, default="") for key in keys}
    return {key: value for key, value in values.items() if isinstance(value, str) and value}


def _run(run: Run, args: argparse.Namespace) -> None:
    """Train or evaluate in this process, which is one of `comm.get_world_size()`."""
    spawned = comm.get_world_size() > 1 and not is_started()
    if spawned and args.config_file.endswith(".py") and os.path.isfile(args.config_file):
        LazyConfig.load(args.config_file)  # a program, which may register data sets
    if run.device.type == "cuda":
        if comm.get_world_size() > 1:  # each uses the GPU of its rank, which is the current one
            run = replace(run, device=torch.device("cuda"))
        elif run.device.index is not None:
            torch.cuda.set_device(run.device)
    folder = run.cfg.train.output_dir
    with ExitStack() as stack:
        on_main_process(lambda: stack.enter_context(locked(folder)))
        stack.enter_context(_giving_back(folder, args))
        start_logging(folder)
        silence_threads()
        register_dataset(run.cfg, run.found)
        log_environment(run.cfg, args)
        show_start(run, args.resume)
        if comm.is_main_process():
            before = _previous_config(folder) if args.resume else {}
            write_config(run.cfg, os.path.join(folder, CONFIG))
            if before:  # compared as saved: a file names classes otherwise than a config does
                show_changes(changes(before, read_flat(folder)))
        seed_all_rng(run.cfg.train.seed + comm.get_rank())
        if args.eval_only:
            evaluate_checkpoint(run)
        else:
            do_train(run, resume=args.resume)


def _previous_config(folder: str) -> FlatConfig:
    """Read the config of the run to resume; {} where there is none."""
    with suppress(UserError):  # damaged; it is about to be written anew
        return read_flat(folder)
    return {}
