import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CONFIG = str(HERE / "toy_config.py")


@pytest.fixture
def toy_config(monkeypatch):
    """Path of a small config; what it imports is importable, and torch runs on one thread."""
    monkeypatch.syspath_prepend(str(HERE))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield CONFIG
    torch.set_num_threads(threads)


@pytest.fixture
def train_net(toy_config):
    """Run the command line on the toy config in this process; return its exit status."""
    from imted.engine.launcher import main

    loggers = [logging.getLogger(name) for name in ("detectron2", "fvcore", "imted")]
    before = [(x.handlers[:], x.level, x.propagate) for x in loggers]
    yield lambda *args: main(["--config-file", toy_config, *map(str, args)])
    for logger, (logger.handlers, level, logger.propagate) in zip(loggers, before, strict=True):
        logger.setLevel(level)


@pytest.fixture
def shell():
    """Run a Python command in the repository with the toy importable; return what it did."""

    def run(*command):
        paths = [str(HERE), str(ROOT / "projects" / "imTED"), os.environ.get("PYTHONPATH", "")]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
        return subprocess.run(
            [sys.executable, *map(str, command)], cwd=ROOT, env=env, capture_output=True, text=True
        )

    return run
