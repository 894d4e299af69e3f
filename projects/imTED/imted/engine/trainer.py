"""The training step: mixed precision, gradient accumulation and clipping on SimpleTrainer."""

import time
from collections import Counter
from collections.abc import Iterable
from contextlib import nullcontext

import torch
from detectron2.engine import SimpleTrainer
from detectron2.utils import comm
from detectron2.utils.events import get_event_storage
from torch.nn.parallel import DistributedDataParallel


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
    ) -> None:
        super().__init__(model, data_loader, optimizer, zero_grad_before_forward=True)
        self.accumulation_steps = accumulation_steps
        self.amp_dtype = amp_dtype
        self.max_norm = max_norm
        self.norm_type = norm_type
        self.device_type = next(model.parameters()).device.type
        self.grad_scaler = torch.amp.GradScaler(
            self.device_type, enabled=amp_dtype is torch.float16
        )

    def run_step(self) -> None:
        """Do one iteration; raise FloatingPointError when a loss isn't finite."""
        start = time.perf_counter()
        self.optimizer.zero_grad()
        losses: Counter = Counter()
        data_time, images = 0.0, 0
        for step in range(self.accumulation_steps):
            data_start = time.perf_counter()
            batch = next(self._data_loader_iter)
            data_time += time.perf_counter() - data_start
            images += len(batch)
            losses.update(self._backward(batch, last=step == self.accumulation_steps - 1))
        self.after_backward()
        self._write_metrics(losses, data_time)
        if self.max_norm is not None:
            self._clip_gradients(self.max_norm)
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()
        seconds = time.perf_counter() - start
        get_event_storage().put_scalar(
            "images_per_second", images * comm.get_world_size() / seconds
        )

    def _backward(self, batch: list[dict], last: bool) -> dict[str, torch.Tensor]:
        """Add the gradients of one micro-batch; processes exchange them only at the last one."""
        wait = isinstance(self.model, DistributedDataParallel) and not last
        with self.model.no_sync() if wait else nullcontext():
            with torch.autocast(
                self.device_type, self.amp_dtype, enabled=self.amp_dtype is not None
            ):
                losses = self.model(batch)
            losses = {name: loss / self.accumulation_steps for name, loss in losses.items()}
            self.grad_scaler.scale(sum(losses.values())).backward()
        return {name: loss.detach() for name, loss in losses.items()}

    def _clip_gradients(self, max_norm: float) -> None:
        self.grad_scaler.unscale_(self.optimizer)
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(parameters, max_norm, self.norm_type)
        # An overflow of float16 is expected now and then: GradScaler skips that step.
        if torch.isfinite(norm):
            get_event_storage().put_scalar("grad_norm", norm.item())

    def state_dict(self) -> dict:
        """Return the iteration, the state of the optimizer and the loss scale."""
        state = super().state_dict()
        state.pop("hooks", None)  # the one hook that has any, LRScheduler, follows the iteration
        return {**state, "grad_scaler": self.grad_scaler.state_dict()}

    def load_state_dict(self, state_dict: dict) -> None:
        """Restore what `state_dict` returned."""
        # The state that Detectron2's trainer keeps of its hooks follows the iteration here.
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "hooks"})
        # Empty without float16, and absent from the checkpoints of Detectron2's trainer.
        if self.grad_scaler.is_enabled() and state_dict.get("grad_scaler"):
            self.grad_scaler.load_state_dict(state_dict["grad_scaler"])
