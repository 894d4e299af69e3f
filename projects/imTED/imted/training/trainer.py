"""The training step: mixed precision, gradient accumulation and clipping on SimpleTrainer."""

import resource
import sys
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import nullcontext

import torch
from detectron2.engine import SimpleTrainer
from detectron2.utils import comm
from detectron2.utils.events import EventStorage, get_event_storage
from torch.nn.parallel import DistributedDataParallel

from imted.errors import UserError
from imted.training.stopping import STOP


class Trainer(SimpleTrainer):
    """Run one optimizer step over `accumulation_steps` micro-batches.

    The losses of a micro-batch are divided by `accumulation_steps`, so that accumulating over two
    batches of B images equals one batch of 2B wherever a loss is a mean over images.

    Args:
        model: Takes a batch and returns a dict of losses; may be wrapped in DDP.
        data_loader: An endless iterable of batches (`list[dict]`).
        optimizer: Steps once an iteration.
        accumulation_steps: Micro-batches an iteration.
        amp_dtype: The dtype of autocast; None for full precision. float16 scales the loss.
        max_norm: Clips the norm of all gradients together; None leaves them as they are.
        norm_type: P of the clipped norm.
        max_bad_steps: Steps in a row without a finite loss and gradient that end the training.

    Attributes:
        stopping: Whether any process has been asked to stop, as of this iteration; all agree.
        finished: Whether the training has come to its end.
        bad_steps: How many steps were skipped so far.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        data_loader: Iterable[list[dict]],
        optimizer: torch.optim.Optimizer,
        accumulation_steps: int = 1,
        amp_dtype: torch.dtype | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        max_bad_steps: int = 30,
    ) -> None:
        super().__init__(model, data_loader, optimizer, zero_grad_before_forward=True)
        self.accumulation_steps = accumulation_steps
        self.amp_dtype = amp_dtype
        self.max_norm = max_norm
        self.norm_type = norm_type
        self.max_bad_steps = max_bad_steps
        self.stopping = False
        self.finished = False
        self.bad_steps = 0
        self._bad_in_a_row = 0
        self.device = next(model.parameters()).device
        self.grad_scaler = torch.amp.GradScaler(
            self.device.type, enabled=amp_dtype is torch.float16
        )

    def train(self, start_iter: int, max_iter: int) -> None:
        """Train as Detectron2's loop does, and let hooks know whether it has come to its end.

        Args:
            start_iter: The first iteration.
            max_iter: The last one is the one before; a hook may lower `self.max_iter`.
        """
        self.iter = self.start_iter = start_iter
        self.max_iter = max_iter
        with EventStorage(start_iter) as self.storage:
            try:
                self.before_train()
                while self.iter < self.max_iter:
                    self.before_step()
                    self.run_step()
                    self.after_step()
                    self.iter += 1
                self.finished = True
            finally:
                self.after_train()

    def run_step(self) -> None:
        """Do one iteration; without a finite loss and gradient the weights stay as they are.

        Raises:
            UserError: That happened `max_bad_steps` times in a row.
        """
        start = time.perf_counter()
        self.optimizer.zero_grad()
        losses: Counter[str] = Counter()
        data_time, images = 0.0, 0
        for step in range(self.accumulation_steps):
            data_start = time.perf_counter()
            batch = next(self._data_loader_iter)
            data_time += time.perf_counter() - data_start
            images += len(batch)
            losses.update(self._backward(batch, last=step == self.accumulation_steps - 1))
        self.after_backward()
        norm = self._gradient_norm()
        finite = bool(
            torch.isfinite(torch.stack([norm, *map(torch.as_tensor, losses.values())])).all()
        )
        if self._agree(finite):
            self._write_metrics(losses, data_time)
            get_event_storage().put_scalar("grad_norm", norm.item())
            self.grad_scaler.step(self.optimizer)
            self._bad_in_a_row = 0
        else:
            self._count_bad_step()
        self.grad_scaler.update()
        seconds = time.perf_counter() - start
        storage = get_event_storage()
        storage.put_scalar("images_per_second", images * comm.get_world_size() / seconds)
        storage.put_scalar("max_mem", peak_memory(self.device) >> 20, smoothing_hint=False)

    def _agree(self, finite: bool) -> bool:
        """Tell the processes of each other's step; return whether it is good on all of them."""
        others = comm.all_gather((finite, STOP.requested))
        self.stopping = any(stop for _, stop in others)
        return all(good for good, _ in others)

    def _count_bad_step(self) -> None:
        self.bad_steps += 1
        self._bad_in_a_row += 1
        get_event_storage().put_scalar("bad_steps", self.bad_steps, smoothing_hint=False)
        if self._bad_in_a_row >= self.max_bad_steps:
            rate = max(group["lr"] for group in self.optimizer.param_groups)
            raise UserError(
                f"The training has diverged: {self._bad_in_a_row} steps in a row "
                f"(train.max_bad_steps), up to iteration {self.iter}, had no finite loss and "
                f"gradient, at a learning rate of {rate:.3g}; lower optimizer.lr, or clip the "
                "gradients (train.clip_grad.enabled=true)."
            )

    def _backward(self, batch: list[dict], last: bool) -> dict[str, torch.Tensor]:
        """Add the gradients of one micro-batch; processes exchange them only at the last one."""
        wait = isinstance(self.model, DistributedDataParallel) and not last
        with self.model.no_sync() if wait else nullcontext():
            with torch.autocast(
                self.device.type, self.amp_dtype, enabled=self.amp_dtype is not None
            ):
                losses = self.model(batch)
            losses = {name: loss / self.accumulation_steps for name, loss in losses.items()}
            self.grad_scaler.scale(sum(losses.values())).backward()
        return {name: loss.detach() for name, loss in losses.items()}

    def _gradient_norm(self) -> torch.Tensor:
        """Return the norm of all gradients together, after which they are clipped if wanted."""
        self.grad_scaler.unscale_(self.optimizer)
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        limit = float("inf") if self.max_norm is None else self.max_norm
        return torch.nn.utils.clip_grad_norm_(parameters, limit, self.norm_type)

    def after_train(self) -> None:
        """End the loader's processes at once, not when they are collected."""
        super().after_train()
        self._data_loader_iter_obj = None

    def state_dict(self) -> dict:
        """Return the iteration, the state of the optimizer and the loss scale."""
        state = super().state_dict()
        state.pop("hooks", None)  # the one hook that has any, LRScheduler, follows the iteration
        return {
            **state,
            "grad_scaler": self.grad_scaler.state_dict(),
            "bad_steps": (self.bad_steps, self._bad_in_a_row),
        }

    def load_state_dict(self, state_dict: dict) -> None:
        """Restore what `state_dict` returned, but the optimizer's settings: these the config says.

        So a learning rate, a weight decay or a schedule that was changed for `--resume` acts.
        """
        settings = [
            {key: value for key, value in group.items() if key != "params"}
            for group in self.optimizer.param_groups
        ]
        # The state that Detectron2's trainer keeps of its hooks follows the iteration here.
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "hooks"})
        for group, values in zip(self.optimizer.param_groups, settings, strict=True):
            group.update(values, initial_lr=values["lr"])
        # Empty without float16, and absent from the checkpoints of Detectron2's trainer.
        if self.grad_scaler.is_enabled() and state_dict.get("grad_scaler"):
            self.grad_scaler.load_state_dict(state_dict["grad_scaler"])
        self.bad_steps, self._bad_in_a_row = state_dict.get("bad_steps", (0, 0))


def peak_memory(device: torch.device) -> int:
    """Return the most memory in use so far, in bytes: of a GPU, else of the process."""
    module = torch.get_device_module(device)
    if hasattr(module, "max_memory_allocated"):
        return module.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
