"""What all tests share: fixtures, by what they are of, and one thread."""

import torch

pytest_plugins = ["fixtures.models", "fixtures.weights", "fixtures.runs", "fixtures.commands"]

# Threads cost more than they save on models this small.
torch.set_num_threads(1)
