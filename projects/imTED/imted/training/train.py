"""Training of whatever a config describes."""

import logging
import os
import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from detectron2.engine import HookBase, create_ddp_model, hooks
from detectron2.utils import comm
from detectron2.utils.events import JSONWriter, TensorboardXWriter
from omegaconf import DictConfig, ListConfig
from safetensors.torch import save_file
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook
from torch.nn.parallel import DistributedDataParallel

from imted.atomic import replacing
from imted.checkpoint import load_checkpoint
from imted.config.load import build, target_of
from imted.config.resolve import Run
from imted.data.train_loader import ResumableBatchSampler, build_train_loader
from imted.errors import UserError, first_line, sentence_of
from imted.modeling import ReconstructionDecoder
from imted.modeling.migration import to_mae
from imted.processes import on_main_process
from imted.run_folder import LOG, MAE, METRICS, keep_metrics, read_last
from imted.training.checkpointers import RunCheckpointer, UntaggedCheckpointer
from imted.training.console import show_end, show_plan, show_weights
from imted.training.describe import describe, registered_categories
from imted.training.ema import EMAHook
from imted.training.evaluate import build_test, check_best_metric, do_test
from imted.training.freezing import FrozenEvalHook, freeze
from imted.training.hooks import (
    EVALUATED,
    BestCheckpointer,
    CatchUpHook,
    ConsolePrinter,
    EarlyStopHook,
    EvaluationHook,
    PeriodicCheckpointer,
    ReseedHook,
    StopHook,
)
from imted.training.memory import memory_sentence
from imted.training.sharding import GatherStateHook, shard
from imted.training.stopping import STOP
from imted.training.trainer import Trainer
from imted.training.validation import check_validation, look_closer
from imted.training.wandb_writer import WandbWriter

logger = logging.getLogger(__name__)


def do_train(run: Run, resume: bool = False) -> None:
    """Train, evaluate and save as the config says.

    Args:
        run: The run.
        resume: Continue from the last checkpoint in `train.output_dir` if there is one; a run
            that has reached `train.max_iter` is only evaluated.
    """
    cfg, start = run.cfg, time.perf_counter()
    if cfg.dataloader.get("test") is not None:
        # An error in it shows now, not at the first evaluation. Not kept: annotations are large.
        check_best_metric(cfg, build_test(cfg)[1])
        if cfg.train.validation_loss or cfg.train.validation_images:
            check_validation(cfg)
    model = build(cfg.model, "model").to(run.device)
    freeze(model, cfg.train.frozen)
    trainer = build_trainer(run, model, build_loader(cfg))
    description = describe(model, cfg, registered_categories(cfg))
    checkpointer = RunCheckpointer(model, cfg.train.output_dir, description, trainer=trainer)
    averaged, start_iter = _load_weights(cfg, checkpointer, resume)
    _skip_batches(trainer, start_iter * cfg.train.accumulation_steps)
    ema = None
    if cfg.train.ema.enabled:
        ema = EMAHook(model, cfg.train.ema.decay)
        if averaged is not None:
            ema.module.load_state_dict(averaged)
        checkpointer.add_checkpointable("ema", ema.module)
    evaluated = model if ema is None else ema.module
    results: dict[str, Any] = {}

    def evaluate() -> dict[str, Any]:
        results.clear()
        results.update(do_test(run, evaluated))
        return {**results, **look_closer(run, evaluated)}

    due = on_main_process(lambda: _evaluation_is_due(cfg, start_iter))
    trainer.register_hooks(_build_hooks(run, checkpointer, ema, evaluate, due))
    if start_iter >= cfg.train.max_iter:
        logger.info(
            "Nothing to train: %d of %d iterations are done.", start_iter, cfg.train.max_iter
        )
    else:
        show_plan(run, trainer, start_iter, _dataset_size(trainer))
    _train(trainer, start_iter, cfg)
    _save_mae(model, cfg.train.output_dir)
    if comm.is_main_process():
        show_end(cfg, trainer.max_iter, results, time.perf_counter() - start, trainer.bad_steps)


def _evaluation_is_due(cfg: DictConfig, start_iter: int) -> bool:
    """Tell whether a resumed run was killed before an evaluation after its last iteration ended.

    What metrics.json has of iterations that are done again is removed.
    """
    records = keep_metrics(cfg.train.output_dir, start_iter)
    done = (record["iteration"] == start_iter - 1 and EVALUATED in record for record in records)
    return 0 < start_iter < cfg.train.max_iter and not any(done)


def _train(trainer: Trainer, start_iter: int, cfg: DictConfig) -> None:
    """Train.

    Raises:
        UserError: What has ended the training is no fault of the program; the sentence names the
            checkpoint to go on from.
    """
    try:
        with STOP.deferred():
            trainer.train(start_iter, cfg.train.max_iter)
    except Exception as error:
        logger.debug("The training has failed:", exc_info=True)
        full = isinstance(error, torch.OutOfMemoryError)
        sentence = memory_sentence(cfg) if full else sentence_of(error)
        if sentence is None and trainer.iter == start_iter and not trainer.finished:
            # Parts that don't fit together show in the first iteration, and the user's part in
            # it no trace makes clear.
            reason = first_line(error)
            sentence = (
                f"The first iteration has failed ({type(error).__name__}: {reason}): mostly, parts "
                f"of the config don't fit together; {LOG} has the trace."
            )
        if sentence is None:
            raise
        folder = cfg.train.output_dir
        last = read_last(folder)
        rest = f"the last good checkpoint is {last} (--resume)" if last else "nothing was saved yet"
        raise UserError(f"{sentence} In {folder}, {rest}.") from error


def build_trainer(run: Run, model: nn.Module, loader: Iterable[list[dict]]) -> Trainer:
    """Build the optimizer, and wrap the model in DDP if there are more processes."""
    cfg = run.cfg
    optimizer = build_optimizer(cfg, model)
    if cfg.train.shard_optimizer:
        optimizer = shard(optimizer)
    ddp = dict(cfg.train.ddp)
    on_gpu = run.device.type == "cuda"
    ddp["device_ids"] = [torch.cuda.current_device()] if on_gpu else None  # a CPU has none
    bfloat16 = ddp.pop("bf16_compression", False)
    model = create_ddp_model(model, **ddp)
    if bfloat16 and isinstance(model, DistributedDataParallel):
        model.register_comm_hook(None, bf16_compress_hook)
    clip = cfg.train.clip_grad
    return Trainer(
        model,
        loader,
        optimizer,
        accumulation_steps=cfg.train.accumulation_steps,
        amp_dtype=run.amp_dtype,
        max_norm=clip.max_norm if clip.enabled else None,
        norm_type=clip.norm_type,
        max_bad_steps=cfg.train.max_bad_steps,
    )


def build_optimizer(cfg: DictConfig, model: nn.Module) -> torch.optim.Optimizer:
    """Build the optimizer of a model, which is what no config can state."""
    params = build(cfg.optimizer.params, "optimizer", model=model)
    optimizer = build(cfg.optimizer, "optimizer", params=params)
    for group in (optimizer.defaults, *optimizer.param_groups):
        for name, value in group.items():  # a checkpoint holds plain values alone
            if isinstance(value, ListConfig):
                group[name] = tuple(value)
    return optimizer


def build_loader(cfg: DictConfig) -> Any:
    """Build the training loader; this project's own gets the run's seed.

    A config doesn't state it: Detectron2's tools hand all that is stated to loaders of theirs.
    """
    loader = cfg.dataloader.train
    ours = target_of(loader) is build_train_loader and "seed" not in loader
    return build(loader, "dataloader.train", **({"seed": cfg.train.seed} if ours else {}))


def _skip_batches(trainer: Trainer, number: int) -> None:
    """Let the loader leave out the batches of the iterations that are done."""
    sampler = getattr(trainer.data_loader, "batch_sampler", None)
    if isinstance(sampler, ResumableBatchSampler):
        sampler.start = number
    elif number:
        logger.warning(
            "The config's training loader is Detectron2's: the order of the images starts anew."
        )


def _dataset_size(trainer: Trainer) -> int | None:
    try:
        return len(trainer.data_loader.dataset)
    except (AttributeError, TypeError):  # Detectron2's loaders are endless streams
        return None


def _load_weights(
    cfg: DictConfig, checkpointer: RunCheckpointer, resume: bool
) -> tuple[dict | None, int]:
    """Load the last checkpoint or the initial weights.

    Returns:
        The averaged weights of a resumed checkpoint (if it has them), and the iteration to start
        with.

    Raises:
        UserError: The checkpoint isn't there for every process, or is of another model.
    """
    found = comm.all_gather(resume and checkpointer.has_checkpoint())
    if len(set(found)) > 1:
        raise UserError(
            f"Not every process finds the checkpoint to resume from in {cfg.train.output_dir} "
            "(train.output_dir); put it on storage that all machines share."
        )
    if found[0]:
        rest = checkpointer.resume()
        return rest.get("ema"), checkpointer.checkpointables["trainer"].iter + 1
    if resume:
        logger.warning(
            "Nothing to resume in %s (train.output_dir): the training starts anew.",
            cfg.train.output_dir,
        )
    if cfg.train.init_checkpoint:
        show_weights(load_checkpoint(checkpointer.model, cfg.train.init_checkpoint, fine_tune=True))
    return None, 0


def _build_hooks(
    run: Run,
    checkpointer: RunCheckpointer,
    ema: EMAHook | None,
    evaluate: Callable[[], dict[str, Any]],
    due: bool,
) -> list[HookBase]:
    """List the hooks in the order they run; files are written by the main process only.

    With `due`, the evaluation that the last iteration before `--resume` wanted comes first.
    """
    cfg, main = run.cfg, comm.is_main_process()
    train = cfg.train
    eval_period = run.iterations(train.eval_period)
    save_period = run.iterations(train.checkpointer.period)
    built = [
        hooks.IterationTimer(),
        ReseedHook(train.seed),
    ]
    if train.max_iter:  # the multiplier divides by it
        built.append(hooks.LRScheduler(scheduler=build(cfg.lr_multiplier, "lr_multiplier")))
    if train.frozen_eval:
        built.append(FrozenEvalHook(checkpointer.model, train.frozen))
    if ema is not None:
        built.append(ema)
    if train.shard_optimizer:
        built.append(GatherStateHook(save_period))
    periodic = None
    if main:
        periodic = PeriodicCheckpointer(
            checkpointer, save_period, max_to_keep=train.checkpointer.max_to_keep
        )
        built.append(periodic)
    # Before the evaluation, which a stopped run does after --resume.
    built.append(StopHook(checkpointer, periodic))
    after_saving: list[HookBase] = [EvaluationHook(eval_period, evaluate)]
    best_hook = None
    if main and train.best_metric and cfg.dataloader.get("test") is not None:
        best = UntaggedCheckpointer(checkpointer.model, train.output_dir, checkpointer.description)
        if ema is not None:
            best.add_checkpointable("ema", ema.module)
        best_hook = BestCheckpointer(eval_period, best, train.best_metric)
        after_saving.append(best_hook)
    if train.early_stop.patience is not None:
        after_saving.append(
            EarlyStopHook(train.early_stop.patience, eval_period, checkpointer, best_hook)
        )
    built += after_saving
    if due:
        built.append(CatchUpHook(after_saving))
    if main:
        writers = [
            WandbWriter(cfg) if train.wandb.enabled else TensorboardXWriter(train.output_dir),
            ConsolePrinter(train.max_iter),
            JSONWriter(os.path.join(train.output_dir, METRICS)),
        ]
        built.append(hooks.PeriodicWriter(writers, period=train.log_period))
    return built


def _save_mae(model: nn.Module, output_dir: str) -> None:
    """Save what pre-training learnt as a MAE checkpoint in the official layout."""
    pretrains = any(isinstance(module, ReconstructionDecoder) for module in model.modules())
    if pretrains and comm.is_main_process():
        path = os.path.join(output_dir, MAE)
        with replacing(path) as partial:
            save_file({k: v.cpu().contiguous() for k, v in to_mae(model).items()}, partial)
        logger.info("What was pre-trained is in %s", path)
