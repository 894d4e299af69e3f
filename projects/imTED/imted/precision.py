"""Which precision a CPU is faster in: found by multiplying, because instructions don't tell."""

import functools
import logging
import time
from collections.abc import Sequence

import torch
from omegaconf import DictConfig

from imted.processes import on_main_process

logger = logging.getLogger(__name__)

WORTH = 1.2
"""How many times faster bfloat16 has to be: the noise of a short measurement is far below."""

# A product of some milliseconds, of about the shapes of a small transformer's layers.
_ROWS, _INNER, _COLUMNS = 512, 512, 512
_REPEATS = 3


@functools.cache
def bfloat16_gain() -> float:
    """Return how many times faster this CPU multiplies matrices in bfloat16 than in float32.

    Below 1 it is slower: emulated, which takes many times as long, or by instructions that make
    fewer products a second than float32's, as AVX-512's may where there is no AMX.
    """
    return _seconds(torch.float32) / _seconds(torch.bfloat16)


def leave_slow_bfloat16(cfg: DictConfig, overrides: Sequence[str]) -> bool:
    """Switch bfloat16 off, in place, where it is for a CPU that isn't faster in it.

    An override of `train.amp` insists on what it says. All processes of a distributed run must
    call this: the main one measures.

    Returns:
        Whether it was switched off.
    """
    on_cpu = torch.device(cfg.train.device).type == "cpu"
    insists = any(word.startswith("train.amp") for word in overrides)
    if insists or not (on_cpu and cfg.train.amp.enabled and cfg.train.amp.dtype == "bf16"):
        return False
    gain = on_main_process(bfloat16_gain)
    if gain >= WORTH:
        return False
    cfg.train.amp.enabled = False
    logger.info(
        "This CPU multiplies %.1f times as fast in bfloat16 as in float32, which is therefore "
        "used; train.amp.enabled=true insists.",
        gain,
    )
    return True


def _seconds(dtype: torch.dtype) -> float:
    """Return the least time of a product of matrices."""
    one, other = torch.ones(_ROWS, _INNER, dtype=dtype), torch.ones(_INNER, _COLUMNS, dtype=dtype)
    times = []
    for _ in range(_REPEATS + 1):  # the first prepares the library
        start = time.perf_counter()
        one @ other
        times.append(time.perf_counter() - start)
    return min(times[1:])
