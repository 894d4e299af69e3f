import pytest
import torch

from imted.precision import bfloat16_gain


def instructions() -> set[str]:
    found = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return {name for name, has in found.items() if has is True}


def test_the_gain_is_that_of_the_instructions():
    names = instructions()
    if not names:
        pytest.skip("this torch doesn't list the CPU's instructions")
    gain = bfloat16_gain()
    if any("amx" in name for name in names):
        assert gain > 1
    elif not any("bf16" in name for name in names):
        assert gain < 0.8
    else:
        pytest.skip("either may be the faster")
