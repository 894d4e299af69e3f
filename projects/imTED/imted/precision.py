"""Which precision a CPU is faster in: found by multiplying, because instructions don't tell."""

import functools
import time
from collections.abc import Sequence

import torch
from omegaconf import DictConfig

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


def depends_on_cpu(cfg: DictConfig, overrides: Sequence[str]) -> bool:
    """Tell whether a config wants bfloat16 on a CPU, and no override has insisted on it."""
    on_cpu = torch.device(cfg.train.device).type == "cpu"
    insists = any(word.startswith("train.amp") for word in overrides)
    return on_cpu and cfg.train.amp.enabled and cfg.train.amp.dtype == "bf16" and not insists


def _seconds(dtype: torch.dtype) -> float:
    """Return the least time of a product of matrices."""
    one, other = torch.ones(_ROWS, _INNER, dtype=dtype), torch.ones(_INNER, _COLUMNS, dtype=dtype)
    times = []
    for _ in range(_REPEATS + 1):  # the first prepares the library
        start = time.perf_counter()
        one @ other
        times.append(time.perf_counter() - start)
    return min(times[1:])
