"""Files that are no weights, or not these; and folders of runs that something has happened to."""

import functools
import io
import json
import pickle
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from cases import FINE, REFUSED, Case, make_data, run, training_words
from safetensors.torch import save

ROOT = Path(__file__).resolve().parents[3]
MAE = ROOT / "projects/imTED/weights/mae_vit_tiny_shapes.pth"
LOCK = threading.Lock()
ENDINGS = ("pth", "pkl", "safetensors")


class _Runs:
    """What a pickle that runs code looks like."""

    def __reduce__(self) -> tuple:
        return print, ("the pickle was executed",)


def _saved(content: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def _mae() -> dict[str, torch.Tensor]:
    content = torch.load(MAE, weights_only=True)
    return content.get("model", content)


def _filled(value: float) -> dict[str, torch.Tensor]:
    return {key: torch.full_like(tensor, value) for key, tensor in _mae().items()}


def no_weights() -> dict[str, bytes]:
    """Return, by name, the content of files that hold no weights of a detector or MAE."""
    whole = MAE.read_bytes()
    tensors = save({key: tensor.contiguous() for key, tensor in _mae().items()})
    return {
        "empty": b"",
        "zeros": bytes(1000),
        "HTML": b"<!DOCTYPE html><html><body>404</body></html>",
        "json": b'{"model": 1}',
        "text": b"model\n",
        "Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        "a tenth": whole[: len(whole) // 10],
        "half": whole[: len(whole) // 2],
        "all but a byte": whole[:-1],
        "half safetensors": tensors[: len(tensors) // 2],
        "8 bytes of safetensors": tensors[:8],
        "a header of 2^60 bytes": (2**60).to_bytes(8, "little") + b"{}",
        "pickle of code": pickle.dumps(_Runs()),
        "torch file of code": _saved(_Runs()),
        "pickle of a list": pickle.dumps([1, 2]),
        "torch file of a list": _saved([1, 2]),
        "torch file of None": _saved(None),
        "torch file of a tensor": _saved(torch.zeros(3)),
        "torch file of a number": _saved(3),
        "torch file of {}": _saved({}),
        "model: null": _saved({"model": None}),
        "model: list": _saved({"model": []}),
        "model: {}": _saved({"model": {}}),
        "model: text": _saved({"model": {"a.weight": "text"}}),
        "keys of numbers": _saved({"model": {1: torch.zeros(3)}}),
        "another network": _saved({"model": {"conv1.weight": torch.zeros(3, 3)}}),
        "an optimizer": _saved({"optimizer": {"state": {}, "param_groups": []}}),
        "nan": _saved({"model": _filled(float("nan"))}),
        "inf": _saved({"model": _filled(float("inf"))}),
        "integers": _saved({"model": {k: v.long() for k, v in _mae().items()}}),
        "other widths": _saved({"model": {k: torch.cat([v, v]) for k, v in _mae().items()}}),
        "scalars": _saved({"model": {k: torch.zeros(()) for k in _mae()}}),
        "numpy objects": _saved({"model": {"a": np.float64(1)}}),
    }  # fmt: skip


def _write(name: str, content: bytes, folder: Path) -> None:
    (folder / name).write_bytes(content)


def _finished(base: Path) -> Path:
    """Train for an iteration, once, and return the run's folder."""
    data = base / "finished"
    with LOCK:
        if not data.exists():
            make_data(data)
            words = (*training_words("{folder}"), "train.checkpointer.period=1")
            status, _, err = run("train_net.py", words, data)
            assert status == 0, err
    return data / "run"


def _after_run(change: Callable[[Path], object], folder: Path) -> None:
    shutil.copytree(_finished(folder.parent), folder / "run")
    change(folder / "run")


def _other_classes(folder: Path) -> None:
    for split in ("train", "val"):
        path = folder.parent / f"{split}.json"
        content = json.loads(path.read_text())
        content["categories"][0]["name"] = "other"
        path.write_text(json.dumps(content))


def _remove(*names: str) -> Callable[[Path], None]:
    return lambda run: [(run / name).unlink() for name in names] and None


def _replace(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda run: _write(name, content, run)


def cases() -> Iterator[Case]:
    """Yield them all."""
    partial = functools.partial
    for kind, content in no_weights().items():
        for ending in ENDINGS:
            name = f"w.{ending}"
            for what, words in (("train from", ()), ("evaluate", ("--eval-only",))):
                yield Case(
                    f"{what} {kind} (.{ending})",
                    (*words, f"train.init_checkpoint={{folder}}/{name}"),
                    partial(_write, name, content),
                    REFUSED,
                    name,
                )
    for where in ("{folder}/absent.pth", "{folder}", "imted://weights/absent.pth", "nothing://a"):
        yield Case(f"train from {where}", (f"train.init_checkpoint={where}",), verdict=REFUSED)
    for kind, tensors in (
        ("as it is", _mae()),
        ("module.", {f"module.{key}": value for key, value in _mae().items()}),
        ("_orig_mod.", {f"_orig_mod.{key}": value for key, value in _mae().items()}),
        ("half", {key: value.half() for key, value in _mae().items()}),
    ):
        saved = partial(_write, "w.pth", _saved({"model": tensors}))
        yield Case(f"weights {kind}", ("train.init_checkpoint={folder}/w.pth",), saved, FINE)

    pointer = "last_checkpoint"
    resume = ("--resume", "train.max_iter=2")
    model = "model_final.pth"
    changes: dict[str, tuple[Callable[[Path], object], str, str]] = {
        "untouched": (lambda run: None, FINE, ""),
        "no last_checkpoint": (_remove(pointer), REFUSED, pointer),
        "empty last_checkpoint": (_replace(pointer, b""), REFUSED, pointer),
        "odd last_checkpoint": (_replace(pointer, b"\xff/../x"), REFUSED, pointer),
        "no such checkpoint": (_remove(model), REFUSED, model),
        "empty checkpoint": (_replace(model, b""), REFUSED, model),
        "a MAE as checkpoint": (_replace(model, MAE.read_bytes()), REFUSED, pointer),
        "a list as checkpoint": (_replace(model, _saved([])), REFUSED, pointer),
        "torn metrics.json": (_replace("metrics.json", b'{"iteration": 1}\n{"iter'), FINE, ""),
        "binary metrics.json": (_replace("metrics.json", bytes(range(256))), FINE, ""),
        "no metrics.json": (_remove("metrics.json"), FINE, ""),
        "no config.yaml": (_remove("config.yaml"), FINE, ""),
        "odd model_best.json": (_replace("model_best.json", b"{"), REFUSED, "model_best.json"),
        "other classes": (_other_classes, REFUSED, "other"),
    }  # fmt: skip
    for name, (change, verdict, mentions) in changes.items():
        yield Case(f"resume: {name}", resume, partial(_after_run, change), verdict, mentions)
    same = partial(_after_run, lambda run: None)
    yield Case("a second run in the folder", (), same, REFUSED, "train.overwrite=true")
    yield Case("a second run that may", ("train.overwrite=true",), same, FINE)
