"""Timing of steps, in turn between systems, and of the stages of a step."""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from detectron2.utils.events import EventStorage
from torch.utils.flop_counter import FlopCounterMode

from .clock import synchronize, timed
from .systems import Batch, System

STAGES = {
    "encoder": "backbone.net",
    "pyramid": "backbone",
    "RPN": "proposal_generator",
    "RoI pooling, modulator": "roi_heads.box_pooler",
    "box head": "roi_heads.box_head",
    "box predictor": "roi_heads.box_predictor",
    "mask pooling": "roi_heads.mask_pooler",
    "mask head": "roi_heads.mask_head",
    "RoI heads, the rest": "roi_heads",
}
REST, BACKWARD, OPTIMIZER = "the rest", "backward", "optimizer"


def time_steps(
    systems: Sequence[System], batch: Batch, repeats: int, warm_up: int, device: torch.device
) -> None:
    """Time steps of all systems in turn; then once more by stage; and count FLOPs.

    Args:
        systems: What is found is put into them.
        batch: What each step is given.
        repeats: Timed steps.
        warm_up: Steps before.
        device: Where the systems are.
    """
    with EventStorage():  # Detectron2's losses write into it
        _time_steps(systems, batch, repeats, warm_up, device)


def _time_steps(
    systems: Sequence[System], batch: Batch, repeats: int, warm_up: int, device: torch.device
) -> None:
    for repeat in range(-warm_up, repeats):
        # In another order each time: whoever comes after another finds its caches.
        for system in systems if repeat % 2 else reversed(systems):
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            seconds = timed(partial(step, system, batch), device)
            if repeat >= 0:
                system.seconds.append(seconds)
            if device.type == "cuda":
                others = sum(held(other) for other in systems if other is not system)
                peak = torch.cuda.max_memory_allocated(device) - others
                system.memory = max(system.memory, peak)
    for _ in range(max(1, repeats // 2)):
        for system in systems:
            for stage, seconds in step_by_stage(system, batch, device).items():
                system.stages[stage].append(seconds)
    for system in systems:
        with FlopCounterMode(display=False) as counter:
            step(system, batch)
        system.flops = counter.get_total_flops()


def held(system: System) -> int:
    """Return the bytes of what a system keeps from one step to the next."""
    tensors = [*system.model.parameters(), *system.model.buffers()]
    if system.optimizer is not None:
        tensors += [v for s in system.optimizer.state.values() for v in s.values()]
    return sum(t.untyped_storage().nbytes() for t in tensors if isinstance(t, torch.Tensor))


def step(system: System, batch: Batch, mark: Callable[[str], None] = lambda stage: None) -> None:
    """Do one step: inference, or forward, backward and the optimizer's update.

    Args:
        system: Whose step.
        batch: What it is given.
        mark: Is called with the name of what has just ended.
    """
    device = next(system.model.parameters()).device.type
    torch.manual_seed(0)  # the same RoIs are sampled each time
    with system.around(), torch.autocast(device, system.dtype, enabled=system.dtype is not None):
        if system.optimizer is None:
            with torch.no_grad():
                system.model(batch)
            mark(REST)
            return
        loss = sum(system.model(batch).values())
    mark(REST)
    with system.around():  # what is recomputed is computed in the same way
        loss.backward()
    mark(BACKWARD)
    system.optimizer.step()
    system.optimizer.zero_grad()
    mark(OPTIMIZER)


def step_by_stage(system: System, batch: Batch, device: torch.device) -> dict[str, float]:
    """Time the stages of a step; each excludes those within it."""
    spent: dict[str, float] = defaultdict(float)
    modules = dict(system.model.named_modules())
    opened: list[str] = []
    last = [0.0]

    def account(stage: str) -> None:
        synchronize(device)
        now = time.perf_counter()
        spent[stage] += now - last[0]
        last[0] = now

    def enter(stage: str) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            account(opened[-1] if opened else REST)
            opened.append(stage)

        return hook

    def leave(*_: Any) -> None:
        account(opened.pop())

    with ExitStack() as stack:
        for stage, name in STAGES.items():
            if name in modules:
                stack.callback(modules[name].register_forward_pre_hook(enter(stage)).remove)
                stack.callback(modules[name].register_forward_hook(leave).remove)
        synchronize(device)
        last[0] = time.perf_counter()
        step(system, batch, account)
    return spent
