"""What all tests share: fixtures, by what they are of, one thread, and which see a GPU."""

import pytest
import torch

pytest_plugins = ["fixtures.models", "fixtures.weights", "fixtures.runs", "fixtures.commands"]

# Threads cost more than they save on models this small.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _hidden_gpus(request, monkeypatch):
    """Hide the GPUs there are from all tests but those marked gpu: they state what a CPU does."""
    if torch.cuda.is_available() and not request.node.get_closest_marker("gpu"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
