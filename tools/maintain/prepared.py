"""Python's command lines in processes that have imported torch and Detectron2 before they start."""

import functools
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing import forkserver
from pathlib import Path
from threading import Lock

ROOT = Path(__file__).resolve().parents[2]

_PROCESSES = multiprocessing.get_context("forkserver")
# And what is imported late: by overrides, torch's optimizers, the log's first lines, the first
# losses, and an evaluation.
_LATE = (
    *("hydra.core.override_parser.overrides_parser", "torch._dynamo", "torch.utils.cpp_extension"),
    *("torch.utils.tensorboard", "faster_coco_eval"),
)
_PROCESSES.set_forkserver_preload(["imted.training.launcher", *_LATE])
_STARTING = Lock()


class Command:
    """What `python WORDS` would be in the repository, without the seconds that it takes to start.

    The process forks from one that has no other thread, has imported what every command imports,
    and has run none of it; it leads a session of its own. A function that is registered with
    `atexit` isn't called before Python 3.13, and warnings at imports aren't seen.
    """

    def __init__(
        self,
        words: Sequence[object],
        env: Mapping[str, str] = os.environ,
        ignored: signal.Signals | None = None,
        forks: bool = True,
    ) -> None:
        """Start it.

        Args:
            words: A script or "-m" and a module, then their arguments.
            env: Its environment; the folders of PYTHONPATH can be imported from.
            ignored: A signal that it starts with ignoring.
            forks: Let it fork the processes that torch would spawn, so that they have imported
                everything, too; they also have what it has set, its handlers of signals, say.
        """
        self.args = [str(word) for word in words]
        self._folder = tempfile.TemporaryDirectory()
        self._files = [Path(self._folder.name, name) for name in ("out", "err")]
        with _STARTING:  # which sets this process's environment for a moment
            _start_server()
        arguments = (self.args, self._files, dict(env), ignored, forks)
        self._process = _PROCESSES.Process(target=_execute, args=arguments)
        self._process.start()
        self.pid: int = self._process.pid  # type: ignore[assignment]  # it has started

    @property
    def returncode(self) -> int | None:
        """As subprocess has it: None while it runs, minus a signal's number if one ended it."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """Return the `returncode`."""
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for its end; return what it printed and what it said on stderr.

        Args:
            timeout: Seconds to wait at most.

        Raises:
            subprocess.TimeoutExpired: It hasn't ended; it goes on.
        """
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        out, err = (path.read_text() if path.exists() else "" for path in self._files)
        return out, err

    def terminate(self) -> None:
        """Ask it to end."""
        self._process.terminate()

    def kill_all(self) -> None:
        """End it and what it has started at once."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        if self.returncode is None:
            self._process.kill()
            self._process.join()

    def completed(self, timeout: float | None = None) -> subprocess.CompletedProcess[str]:
        """Wait for its end, as `subprocess.run` does; see `communicate`."""
        out, err = self.communicate(timeout)
        assert self.returncode is not None
        return subprocess.CompletedProcess(self.args, self.returncode, out, err)


def _start_server() -> None:
    """Start what the processes fork from, with the package to be imported from here."""
    paths = os.environ.get("PYTHONPATH")
    here = [str(ROOT / "projects/imTED"), *filter(None, [paths])]
    os.environ["PYTHONPATH"] = os.pathsep.join(here)
    try:
        forkserver.ensure_running()
    finally:
        del os.environ["PYTHONPATH"]
        if paths is not None:
            os.environ["PYTHONPATH"] = paths


def _execute(
    words: list[str],
    files: list[Path],
    env: dict[str, str],
    ignored: signal.Signals | None,
    forks: bool,
) -> None:
    import torch

    os.setsid()
    os.chdir(ROOT)
    for number, path in enumerate(files, start=1):
        with open(path, "w") as file:
            os.dup2(file.fileno(), number)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever this process inherits
    if ignored is not None:
        signal.signal(ignored, signal.SIG_IGN)
    os.environ.clear()
    os.environ.update(env)
    tempfile.tempdir = None  # that of the new environment
    sys.path[:0] = filter(None, env.get("PYTHONPATH", "").split(os.pathsep))
    torch.set_num_threads(1)
    if forks:
        start = functools.partial(torch.multiprocessing.start_processes, start_method="fork")
        torch.multiprocessing.start_processes = start
    if words[0] == "-m":
        sys.argv = words[1:]
        sys.path.insert(0, str(ROOT))
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        sys.path.insert(0, os.path.dirname(os.path.abspath(words[0])))  # as Python does
        runpy.run_path(words[0], run_name="__main__")
