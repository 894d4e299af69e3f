"""The command line behind train_net.py: one process or many, here or under torchrun."""

import argparse
import gc
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from detectron2.engine import default_argument_parser, default_setup, launch
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger
from omegaconf import DictConfig

from imted.coco_check.dataset import fit_to_dataset
from imted.engine.config import load_config
from imted.engine.evaluate import evaluate_checkpoint
from imted.engine.settings import check_settings, make_output_dir, train_device
from imted.engine.train import do_train
from imted.errors import UserError

EPILOG = """\
Examples:

Train on this machine with 8 GPUs (on a CPU: 8 processes):
    $ train_net.py --config-file configs/x.py --num-gpus 8

Change values of the config; evaluate a checkpoint; continue a run that was stopped:
    $ train_net.py --config-file configs/x.py train.max_iter=9000 train.output_dir=x
    $ train_net.py --config-file configs/x.py --eval-only train.init_checkpoint=x/model_final.pth
    $ train_net.py --config-file configs/x.py --resume train.output_dir=x

Several machines, or a cluster's own launcher:
    (machine0)$ train_net.py --num-machines 2 --machine-rank 0 --dist-url tcp://machine0:29500 ...
    (machine1)$ train_net.py --num-machines 2 --machine-rank 1 --dist-url tcp://machine0:29500 ...
    $ torchrun --nproc_per_node 8 train_net.py --config-file configs/x.py
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit status; a user's mistake prints one line."""
    parser = default_argument_parser(EPILOG)
    parser.set_defaults(dist_url="auto")
    args = parser.parse_args(argv)
    try:
        # Mistakes in the config show before anything is started.
        cfg = load_config(args.config_file, args.opts)
        check_settings(cfg)
        make_output_dir(cfg)
        device = train_device(cfg)
        if {"RANK", "WORLD_SIZE", "LOCAL_RANK"} <= os.environ.keys():
            _join(args, device)
        else:
            _launch(args, device)
    except UserError as error:
        # A loader's worker hands on its whole trace; the sentence is at the end of it.
        print(f"error: {str(error).rpartition('UserError: ')[2].strip()}", file=sys.stderr)
        return 1
    return 0


def run(args: argparse.Namespace):
    """Train or evaluate in this process, which is one of `comm.get_world_size()`."""
    cfg = _setup(args)
    if args.eval_only:
        evaluate_checkpoint(cfg)
    else:
        do_train(cfg, resume=args.resume)


def _setup(args: argparse.Namespace) -> DictConfig:
    """Load the config, fit it to its data set, start the logs and seed the generators."""
    cfg = load_config(args.config_file, args.opts)
    setup_logger(cfg.train.output_dir, distributed_rank=comm.get_rank(), name="imted")
    logging.getLogger("detectron2.engine.train_loop").addFilter(_is_no_mistake)
    fit_to_dataset(cfg, training=not args.eval_only)
    config = Path(cfg.train.output_dir, "config.yaml")
    trained_with = config.read_bytes() if args.eval_only and config.is_file() else None
    default_setup(cfg, args)
    if trained_with is not None and comm.is_main_process():
        config.write_bytes(trained_with)  # an evaluation doesn't change what a training has left
    return cfg


def _is_no_mistake(record: logging.LogRecord) -> bool:
    """Tell the trainer's log, which shows the trace of any exception, what is a user's mistake."""
    return not (record.exc_info and issubclass(record.exc_info[0], UserError))


def _launch(args: argparse.Namespace, device: torch.device):
    """Start the processes of this machine and wait for them."""
    gpus = torch.cuda.device_count()
    if args.num_gpus < 1:
        raise UserError(f"--num-gpus is {args.num_gpus}; it must be at least 1.")
    if 0 < gpus < args.num_gpus and device.type == "cuda":
        raise UserError(f"--num-gpus is {args.num_gpus}, but this machine has {gpus}.")
    if device.type == "cpu" and gpus and args.num_gpus * args.num_machines > 1:
        raise UserError(
            "Several processes on the CPU of a machine with GPUs: hide these with "
            "CUDA_VISIBLE_DEVICES= (set to nothing)."
        )
    if args.num_machines > 1 and args.dist_url == "auto":
        raise UserError("--num-machines needs --dist-url tcp://<address of machine 0>:<port>.")
    mistakes = mp.get_context("spawn").SimpleQueue()
    try:
        launch(
            _run_reporting_mistakes,
            args.num_gpus,
            num_machines=args.num_machines,
            machine_rank=args.machine_rank,
            dist_url=args.dist_url,
            args=(args, mistakes.put),
        )
    except (mp.ProcessExitedException, mp.ProcessRaisedException, SystemExit):
        if mistakes.empty():
            raise
        raise UserError(mistakes.get()) from None


def _run_reporting_mistakes(args: argparse.Namespace, report: Callable[[str], None]):
    """Run, and hand a user's mistake to the process that started this one."""
    try:
        run(args)
    except UserError as error:
        report(str(error))
        sys.exit(1)
    finally:
        leave_process_group()


def _join(args: argparse.Namespace, device: torch.device):
    """Run as one process of torchrun, or of anything that sets the same environment."""
    if device.type == "cuda":
        local_rank, gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if local_rank >= gpus:
            raise UserError(f"More processes than this machine's {gpus} GPUs were started.")
        torch.cuda.set_device(local_rank)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        comm.create_local_process_group(int(os.environ.get("LOCAL_WORLD_SIZE", args.num_gpus)))
        run(args)
    finally:
        leave_process_group()


def leave_process_group():
    """Leave the process group, where there is one, and end its threads.

    A thread of gloo may let go of its last tensor only after the collective is over. Where Python
    is shutting down by then, the process aborts ("terminate called without an active exception").
    Destroying the group joins its threads, but only once nothing refers to it any more.
    """
    if dist.is_initialized():
        # Detectron2 refers to its groups, and so does a model in the trainer's reference cycles.
        comm._get_global_gloo_group.cache_clear()
        comm._LOCAL_PROCESS_GROUP = None
        gc.collect()
        dist.destroy_process_group()
