"""What a run says: one screen at its start, one line of progress at a time, one block at its end.

log.txt gets everything that any library logs, without colours.
"""

import argparse
import contextlib
import io
import logging
import math
import os
import re
import shlex
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from detectron2.utils import comm
from detectron2.utils.collect_env import collect_env_info
from omegaconf import DictConfig, OmegaConf

import imted
from imted.checkpoint import LoadReport
from imted.config.resolve import Run
from imted.errors import discard_stdout, print_any_text, sentence_of
from imted.run_folder import BEST, CONFIG, FINAL, LOG, MAE, METRICS, REPLACED, RESULTS, read_best
from imted.training.trainer import Trainer

logger = logging.getLogger(__name__)

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_PROGRESS = "detectron2.utils.events"
_EVALUATION = "detectron2.evaluation.evaluator"
_TASKS = {"bbox": "box", "segm": "mask"}


def silence_threads() -> None:
    """Let no thread print the trace of what the main thread will say in one sentence.

    TensorBoard writes in a thread, and hands on to the main one what goes wrong there.
    """

    def hook(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is None or sentence_of(args.exc_value) is None:
            threading.__excepthook__(args)

    threading.excepthook = hook


class _Surviving(logging.Handler):
    """What can't be written, on a full disk or where nobody reads on, ends nothing."""

    def handleError(self, record: logging.LogRecord) -> None:  # logging's name
        error = sys.exc_info()[1]
        if isinstance(error, BrokenPipeError):
            discard_stdout()
        elif not isinstance(error, OSError):
            super().handleError(record)


class _LogFile(_Surviving, logging.FileHandler):
    """Append to log.txt, without the colours that a library may put into a message."""

    def __init__(self, path: str) -> None:
        super().__init__(path, encoding="utf-8", errors="backslashreplace")
        self.setFormatter(
            logging.Formatter("[%(asctime)s] %(name)s %(levelname)s: %(message)s", "%m/%d %X")
        )

    def format(self, record: logging.LogRecord) -> str:
        return _ANSI.sub("", super().format(record))


class _ConsoleHandler(_Surviving, logging.StreamHandler):
    """Show what concerns the user: this project's words, progress, and warnings of anybody."""

    def __init__(self) -> None:
        super().__init__(sys.stdout)
        self.addFilter(self._concerns_user)

    @staticmethod
    def _concerns_user(record: logging.LogRecord) -> bool:
        if record.exc_info and record.exc_info[1] and sentence_of(record.exc_info[1]):
            return False  # it ends as one sentence
        if record.name == "detectron2.config.instantiate":  # remarks on an error that is raised
            return False
        if record.levelno >= logging.WARNING or record.name == _PROGRESS:
            return True
        if record.name == _EVALUATION:
            return record.getMessage().startswith("Inference done")
        return record.levelno >= logging.INFO and record.name.startswith("imted")

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        if record.levelno >= logging.WARNING:
            return f"{record.levelname}: {message}"
        if record.name in (_PROGRESS, _EVALUATION):
            return f"[{logging.Formatter().formatTime(record, '%H:%M:%S')}] {message}"
        return message


def start_logging(output_dir: str, rank: int | None = None) -> None:
    """Write log.txt (log.txt.rankN of other processes) and show what concerns the user.

    Args:
        output_dir: The folder of the run.
        rank: The rank of this process in the run; None where the processes have met.
    """
    print_any_text()  # a process that was spawned has not said so
    rank = comm.get_rank() if rank is None else rank
    handlers: list[logging.Handler] = [
        _LogFile(os.path.join(output_dir, f"{LOG}.rank{rank}" if rank else LOG))
    ]
    if rank == 0:
        handlers.append(_ConsoleHandler())
    for name in ("detectron2", "fvcore", "imted"):
        library = logging.getLogger(name)
        library.setLevel(logging.DEBUG)
        library.propagate = False
        for handler in library.handlers[:]:  # of an earlier run in this process
            if isinstance(handler, _LogFile | _ConsoleHandler):
                library.removeHandler(handler)
                handler.close()
        for handler in handlers:
            library.addHandler(handler)


def log_environment(cfg: DictConfig, args: argparse.Namespace) -> None:
    """Write machine, command line and config to log.txt."""
    logger.debug("Environment:\n%s", collect_env_info())
    logger.debug("Command line: %s", args)
    logger.debug("Config:\n%s", OmegaConf.to_yaml(cfg))


def show_start(run: Run, resumed: bool) -> None:
    """Show where the run happens and on which data."""
    device = str(run.device)
    if run.device.type == "cuda":
        device = f"{torch.cuda.get_device_name(run.device)} ({device})"
    elif run.device.type == "cpu":
        threads = torch.get_num_threads()
        device = f"CPU, {threads} thread{'s'[: threads > 1]}"
    processes = comm.get_world_size()
    many = f", {processes} processes" if processes > 1 else ""
    precision = run.cfg.train.amp.dtype if run.amp_dtype else "fp32"
    logger.info("imTED %s, torch %s", imted.__version__, torch.__version__)
    _row("machine", f"{device}{many}, {precision}")
    for split, facts in run.found.items():
        _row(split, f"{facts.json_file}: {facts.counts}")
        for warning in facts.warnings:
            logger.warning("%s: %s.", facts.json_file, warning)
        for repair in facts.repairs:
            _row("", f"repaired: {repair}")
        if split == "train" and facts.empty:
            key = "dataloader.train.dataset.filter_empty"
            if OmegaConf.select(run.cfg, key, default=True):
                _row("", f"images without annotations are left out; {key}=false trains on them")
    if run.found:
        facts = next(iter(run.found.values()))
        classes = list(facts.classes.values())
        more = f" and {len(classes) - 10} more" if len(classes) > 10 else ""
        _row("classes", f"{len(classes)}: {', '.join(classes[:10])}{more}")
        if not facts.has_masks:
            _row("", "no annotation has a mask: only boxes are learned")
    folder = run.cfg.train.output_dir
    if resumed:
        _row("resume", folder)
    aside = os.path.join(folder, REPLACED)
    if os.path.isdir(aside):
        _row("", f"the run that was here is in {aside} until this one has a checkpoint")


def show_changes(changed: Sequence[str]) -> None:
    """Show what is another value in the config of a resumed run; log.txt has all of them."""
    logger.debug("Changed since the run was started: %s", "; ".join(changed) or "nothing")
    more = [f"and {len(changed) - 5} more, in {LOG}"] if len(changed) > 5 else []
    short = [line if len(line) <= 150 else f"{line[:149]}…" for line in changed[:5]]
    _rows("changed", [*short, *more])


def show_weights(report: LoadReport) -> None:
    """Show what became of a file's weights."""
    _rows("weights", report.summary())


def show_plan(run: Run, trainer: Trainer, start_iter: int, images: int | None) -> None:
    """Show the size of the model and of the training.

    Args:
        run: The run.
        trainer: With the model and its optimizer.
        start_iter: The first iteration.
        images: Number of training images; None where it isn't known.
    """
    train, loader = run.cfg.train, run.cfg.dataloader.train
    parameters = list(trainer.model.parameters())
    count = sum(p.numel() for p in parameters)
    trainable = sum(p.numel() for p in parameters if p.requires_grad)
    batch = loader.total_batch_size * train.accumulation_steps
    epochs = f" = {train.max_iter * batch / images:.1f} epochs of {images}" if images else ""
    start = f", from {start_iter} on" if start_iter else ""
    # After --resume the rate has decayed; the base rate is what the schedule multiplies.
    rates = {group.get("initial_lr", group["lr"]) for group in trainer.optimizer.param_groups}
    low = f" (down to {min(rates):.3g} by layer)" if len(rates) > 1 else ""
    eval_period = run.iterations(train.eval_period)
    evaluation = f"every {eval_period} iterations and " if eval_period else ""
    _row("model", f"{count / 1e6:.2f} M parameters, {trainable / 1e6:.2f} M trainable")
    _row("plan", f"{train.max_iter} iterations{start} of {batch} images{epochs}")
    _row("", f"base learning rate {max(rates):.3g}{low}")
    has_test = run.cfg.dataloader.get("test") is not None
    when = f"evaluation {evaluation}at the end; " if has_test else ""
    save_period = run.iterations(train.checkpointer.period)
    _row("", f"{when}checkpoint every {save_period} iterations")
    _row("log", f"{os.path.join(train.output_dir, LOG)} has everything; {CONFIG} beside it")


def format_results(results: Mapping[str, Any]) -> str:
    """Return the main metrics as one line: "box AP 27.1 (AP50 64.6), mask AP 27.1 (AP50 58.2)"."""
    parts = []
    for task, metrics in results.items():
        if not isinstance(metrics, Mapping):
            parts.append(f"{task} {_number(metrics)}")
        elif "AP" in metrics:
            extra = [f"{m} {_number(metrics[m])}" for m in ("AP50", "nAP") if m in metrics]
            more = f" ({', '.join(extra)})" if extra else ""
            parts.append(f"{_TASKS.get(task, task)} AP {_number(metrics['AP'])}{more}")
        else:
            values = list(metrics.items())[:4]
            parts.append(f"{task} " + ", ".join(f"{name} {_number(v)}" for name, v in values))
    return "; ".join(parts)


def show_end(
    cfg: DictConfig,
    iterations: int,
    results: Mapping[str, Any],
    seconds: float,
    bad_steps: int = 0,
) -> None:
    """Show what a training has reached, which files it left, and what to type next.

    Args:
        cfg: The config.
        iterations: How many it had.
        results: Of its last evaluation.
        seconds: What it took.
        bad_steps: Iterations that were skipped.
    """
    folder = cfg.train.output_dir
    logger.info("")
    many = "s"[: iterations != 1]
    _row("done", f"{iterations} iteration{many}, {_duration(seconds)}")
    if bad_steps:
        logger.warning(
            "%d of %d iterations were skipped, as their loss or gradient wasn't finite: lower "
            "optimizer.lr, or set train.clip_grad.enabled=true or train.amp.dtype=bf16.",
            *(bad_steps, iterations),
        )
    if results:
        _row("result", format_results(results))
    best = read_best(folder) if results and _is_file(folder, BEST) else None
    if best:
        value = f"{best['metric']} {_number(best['value'])}"
        # The last evaluation counts as one iteration after the last step.
        iteration = min(best["iteration"] + 1, iterations)
        _row("best", f"{value} after iteration {iteration}")
    files = (FINAL, BEST, MAE, RESULTS, METRICS, LOG)
    there = [name for name in files if _is_file(folder, name)]
    _row("files", f"{folder}: {', '.join(there)}")
    weights = BEST if best else FINAL
    following = [f"tensorboard --logdir {shlex.quote(folder)}"]
    if results and weights in there:
        config, path = (os.path.join(folder, name) for name in (CONFIG, weights))
        following = [
            f"python train_net.py --config-file {shlex.quote(config)} --eval-only \\",
            f"    {shlex.quote(f'train.init_checkpoint={path}')}",
            *following,
        ]
    _rows("next", following)


@contextlib.contextmanager
def prints_to_log() -> Iterator[None]:
    """Send what other libraries print, such as COCO's tables, to log.txt."""
    text = io.StringIO()
    try:
        with contextlib.redirect_stdout(text):
            yield
    finally:
        if text.getvalue().strip():
            logger.debug("Printed by the evaluation:\n%s", text.getvalue().strip())


def _rows(title: str, lines: Iterable[str]) -> None:
    for line in lines:
        _row(title, line)
        title = ""


def _row(title: str, text: str) -> None:
    logger.info("%-8s %s", title, text)


def _number(value: Any) -> str:
    return f"{value:.1f}" if isinstance(value, int | float) and math.isfinite(value) else "none"


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    return f"{minutes:.0f} minutes" if minutes >= 2 else f"{seconds:.0f} seconds"


def _is_file(folder: str, name: str) -> bool:
    return os.path.isfile(os.path.join(folder, name))
