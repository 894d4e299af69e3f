"""Training of whatever a config describes."""

import logging
import os
from collections.abc import Callable

from detectron2.config import instantiate
from detectron2.engine import HookBase, create_ddp_model, hooks
from detectron2.utils import comm
from detectron2.utils.events import JSONWriter, TensorboardXWriter
from omegaconf import DictConfig, OmegaConf
from torch import nn

from imted.checkpoint import load_checkpoint, save_mae
from imted.engine.checkpointers import RunCheckpointer, UntaggedCheckpointer
from imted.engine.ema import EMAHook
from imted.engine.evaluate import build_test, do_test
from imted.engine.freezing import FrozenEvalHook, freeze
from imted.engine.hooks import BestCheckpointer, ConsolePrinter, ReseedHook
from imted.engine.settings import amp_dtype, train_device
from imted.engine.trainer import Trainer
from imted.errors import UserError
from imted.modeling import MaskedAutoencoder

logger = logging.getLogger(__name__)


def do_train(cfg: DictConfig, resume: bool = False):
    """Train, evaluate and save as the config says.

    Args:
        cfg: the config.
        resume: continue from the last checkpoint in `train.output_dir` if there is one; a run
            that has reached `train.max_iter` is only evaluated.
    """
    if cfg.dataloader.get("test") is not None:
        # A mistake in it shows now, not at the first evaluation. Not kept: annotations are large.
        build_test(cfg)
    model = instantiate(cfg.model).to(train_device(cfg))
    freeze(model, cfg.train.frozen)
    trainer = _build_trainer(cfg, model)
    checkpointer = RunCheckpointer(model, cfg.train.output_dir, trainer=trainer)
    averaged, start_iter = _load_weights(cfg, checkpointer, resume)
    trainer.data_loader.batch_sampler.start = start_iter * cfg.train.accumulation_steps
    ema = None
    if cfg.train.ema.enabled:
        ema = EMAHook(model, cfg.train.ema.decay)
        if averaged is not None:
            ema.module.load_state_dict(averaged)
        checkpointer.add_checkpointable("ema", ema.module)
    evaluated = model if ema is None else ema.module

    if start_iter >= cfg.train.max_iter:
        logger.info(
            "Nothing to train: %d of %d iterations are done.", start_iter, cfg.train.max_iter
        )
        do_test(cfg, evaluated)
    else:
        trainer.register_hooks(
            _build_hooks(cfg, checkpointer, ema, lambda: do_test(cfg, evaluated))
        )
        _log_plan(cfg, trainer, start_iter)
        trainer.train(start_iter, cfg.train.max_iter)
    _save_mae(model, cfg.train.output_dir)


def _build_trainer(cfg: DictConfig, model: nn.Module) -> Trainer:
    """Build the optimizer and the loader, and wrap the model in DDP if there are more processes."""
    cfg.optimizer.params.model = model
    optimizer = instantiate(cfg.optimizer)
    cfg.optimizer.params.model = None
    ddp = OmegaConf.to_container(cfg.train.ddp)
    if train_device(cfg).type == "cpu":
        ddp["device_ids"] = None  # DDP takes none on a CPU
    clip = cfg.train.clip_grad
    return Trainer(
        create_ddp_model(model, **ddp),
        instantiate(cfg.dataloader.train),
        optimizer,
        accumulation_steps=cfg.train.accumulation_steps,
        amp_dtype=amp_dtype(cfg),
        max_norm=clip.max_norm if clip.enabled else None,
        norm_type=clip.norm_type,
    )


def _load_weights(
    cfg: DictConfig, checkpointer: RunCheckpointer, resume: bool
) -> tuple[dict | None, int]:
    """Load the last checkpoint or the initial weights.

    Returns:
        The averaged weights of a resumed checkpoint (if it has them), and the iteration to start
        with.

    Raises:
        UserError: the checkpoint isn't there for every process, or is of another model.
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
        load_checkpoint(checkpointer.model, cfg.train.init_checkpoint, fine_tune=True)
    return None, 0


def _build_hooks(
    cfg: DictConfig,
    checkpointer: RunCheckpointer,
    ema: EMAHook | None,
    evaluate: Callable[[], dict],
) -> list[HookBase]:
    """List the hooks in the order they run; files are written by the main process only."""
    train, main = cfg.train, comm.is_main_process()
    built = [
        hooks.IterationTimer(),
        ReseedHook(train.seed),
        hooks.LRScheduler(scheduler=instantiate(cfg.lr_multiplier)),
    ]
    if train.frozen_eval:
        built.append(FrozenEvalHook(checkpointer.model, train.frozen))
    if ema is not None:
        built.append(ema)
    if main:
        built.append(hooks.PeriodicCheckpointer(checkpointer, **train.checkpointer))
    built.append(hooks.EvalHook(train.eval_period, evaluate))
    if main and train.best_metric and cfg.dataloader.get("test") is not None:
        best = UntaggedCheckpointer(checkpointer.model, train.output_dir)
        if ema is not None:
            best.add_checkpointable("ema", ema.module)
        built.append(BestCheckpointer(train.eval_period, best, train.best_metric))
    if main:
        writers = [
            ConsolePrinter(train.max_iter),
            JSONWriter(os.path.join(train.output_dir, "metrics.json")),
            TensorboardXWriter(train.output_dir),
        ]
        built.append(hooks.PeriodicWriter(writers, period=train.log_period))
    return built


def _log_plan(cfg: DictConfig, trainer: Trainer, start_iter: int):
    """Log the size of the model and of the training."""
    parameters = list(trainer.model.parameters())
    count = sum(p.numel() for p in parameters)
    trainable = sum(p.numel() for p in parameters if p.requires_grad)
    batch = cfg.dataloader.train.total_batch_size * cfg.train.accumulation_steps
    images = len(trainer.data_loader.dataset)
    rates = {group["lr"] for group in trainer.optimizer.param_groups}
    logger.info("Parameters: %.2fM, of which trainable: %.2fM", count / 1e6, trainable / 1e6)
    logger.info(
        "Training iterations %d to %d with %d images each (%.1f epochs of %d images), "
        "base learning rate %.3g to %.3g over the parameter groups",
        start_iter,
        cfg.train.max_iter,
        batch,
        cfg.train.max_iter * batch / images,
        images,
        min(rates),
        max(rates),
    )


def _save_mae(model: nn.Module, output_dir: str):
    """Save what pre-training learnt as a MAE checkpoint in the official layout."""
    if isinstance(model, MaskedAutoencoder) and comm.is_main_process():
        path = os.path.join(output_dir, "mae_final.safetensors")
        save_mae(model, path)
        logger.info("The pre-trained encoder and decoder are in %s", path)
