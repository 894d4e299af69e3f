"""The optimizer's state, a part of it in each process (ZeRO's first stage)."""

import inspect
from typing import Any

from detectron2.engine import HookBase
from detectron2.utils import comm
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.optim import Optimizer


def shard(optimizer: Optimizer) -> Optimizer:
    """Return an optimizer that does the same, with its state spread over the processes.

    AdamW keeps 8 bytes for a float32 weight: 5.4 GB for ViT-H, a part of it on each GPU.

    Args:
        optimizer: Has not stepped yet. A single process keeps it.
    """
    if comm.get_world_size() == 1:
        return optimizer
    arguments = inspect.signature(type(optimizer)).parameters
    settings = {key: value for key, value in optimizer.defaults.items() if key in arguments}
    groups = [dict(group) for group in optimizer.param_groups]
    return _ShardedOptimizer(groups, type(optimizer), **settings)


class _ShardedOptimizer(ZeroRedundancyOptimizer):
    """torch's, whose fused kernel also finds its counts of steps on the GPU after a resume."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load as torch's does, which puts all counts on the CPU."""
        super().load_state_dict(state_dict)
        for group in self.optim.param_groups:
            for parameter in group["params"] if group.get("fused") else ():
                state = self.optim.state.get(parameter, {})
                if "step" in state:
                    state["step"] = state["step"].to(parameter.device)


def gather_state(optimizer: Optimizer) -> None:
    """Bring a sharded state to the main process, which saves it; all processes must call this."""
    if isinstance(optimizer, ZeroRedundancyOptimizer):
        optimizer.consolidate_state_dict()


class GatherStateHook(HookBase):
    """Gather the optimizer's state where a checkpoint is about to be saved."""

    def __init__(self, period: int) -> None:
        """Keep the iterations between two checkpoints."""
        self._period = period

    def after_step(self) -> None:
        """Gather it, in all processes at the same iterations."""
        done = self.trainer.iter + 1
        if done % self._period == 0 or done >= self.trainer.max_iter or self.trainer.stopping:
            gather_state(self.trainer.optimizer)
