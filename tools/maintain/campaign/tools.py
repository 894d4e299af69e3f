"""The other command lines, one of their files at a time replaced by what it shouldn't be."""

import functools
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from weights import no_weights

from cases import CONFIG, FINE, REFUSED, ROOT, Case

NO_JSON = {
    "empty": b"",
    "text": b"word",
    "a list": b"[]",
    "null": b"null",
    "a number": b"7",
    "{}": b"{}",
    "lists": b'{"images": [1], "annotations": [[]], "categories": ["a"]}',
    "binary": bytes(range(256)),
    "brackets": b"[" * 100_000,
}
OPTIONS = f"--config-file {CONFIG}"
OUT = "--output {folder}/out"
IMAGES = "--images {folder}/images"
OF_WEIGHTS = {
    "half": "tools/half_precision.py {bad} {folder}/out.pth",
    "extend": "tools/extend_classes.py {bad} {folder}/out.pth"
    " --base-json {folder}/train.json --json {folder}/train.json",
    "convert": "tools/convert_released.py {bad} {folder}/out.pth"
    " --config-file configs/released/imted_faster_rcnn_vit_small.py",
    "export": f"tools/export_model.py {{bad}} {OPTIONS} --format torchscript {OUT}",
    "demo": f"demo/demo.py {OPTIONS} --input {{folder}}/images {OUT}"
    " --opts train.init_checkpoint={bad} train.device=cpu",
}
"""Command lines in which {bad} stands for weights."""
OF_JSON = {
    "draw": "tools/visualize_data.py --source annotation --json {bad}"
    f" {IMAGES} --output-dir {{folder}}/out",
    "draw predictions": "tools/visualize_data.py --source prediction --predictions {bad}"
    f" --json {{folder}}/val.json {IMAGES} --output-dir {{folder}}/out",
    "analyze json": "tools/analyze_results.py --predictions {folder}/list.json"
    f" --json {{bad}} {IMAGES} {OUT}",
    "analyze predictions": "tools/analyze_results.py --predictions {bad}"
    f" --json {{folder}}/val.json {IMAGES} {OUT}",
    "image ids": f"demo/demo.py {OPTIONS} --input {{folder}}/images {OUT} --image-ids {{bad}}"
    " --opts train.device=cpu train.init_checkpoint=''",
    "extend": "tools/extend_classes.py {folder}/absent.pth {folder}/out.pth"
    " --base-json {bad} --json {folder}/train.json",
}
for _path in sorted(ROOT.glob("datasets/prepare_*.py")):
    if '"--json"' in (_text := _path.read_text()):
        _derive = "derive " if "derive" in _text else ""
        OF_JSON[_path.stem] = f"datasets/{_path.name} {_derive}--json {{bad}} {OUT}"
"""Command lines in which {bad} stands for a json."""
OF_RUN = {
    "analyze run": "tools/analyze_results.py {bad}",
    "compare runs": "tools/analyze_results.py --compare {bad} {bad}",
    "pictures": "tools/quickstart_pictures.py {bad}",
    "export run": f"tools/export_model.py {{bad}} --format onnx {OUT}",
    "web": "demo/web.py {bad}",
    "draw prediction": "tools/visualize_data.py --source prediction --json {bad}",
    "analyze model": "tools/analyze_model.py --tasks flop --config-file {bad}",
    "a config": "demo/demo.py --config-file {bad} --input {folder}/images",
}
"""Command lines in which {bad} stands for the folder of a run, or a config."""


HALVED = ("another network", "integers", "other widths", "scalars")


def _write(content: bytes, folder: Path) -> None:
    (folder / "bad").write_bytes(content)
    (folder / "list.json").write_text("[]")


def _folder(content: bytes, folder: Path) -> None:
    """Write a run's folder all of whose files are bad."""
    run = folder / "bad"
    run.mkdir()
    for name in ("config.yaml", "results.json", "model_final.pth", "model_best.pth"):
        (run / name).write_bytes(content)
    (run / "last_checkpoint").write_text("model_final.pth")


def _case(name: str, command: str, bad: str, build: Callable[[Path], None]) -> Case:
    script, *words = command.replace("{bad}", bad).split()
    return Case(name, tuple(words), build, REFUSED, script=script)


def cases() -> Iterator[Case]:
    """Yield them all."""
    partial = functools.partial
    kinds = ((OF_WEIGHTS, no_weights()), (OF_JSON, NO_JSON), (OF_RUN, NO_JSON))
    for commands, contents in kinds:
        for name, command in commands.items():
            for kind, content in contents.items():
                build = partial(_write, content)
                case = _case(f"{name}: {kind}", command, "{folder}/bad", build)
                # Any network's weights can be halved.
                halves = name == "half" and kind in HALVED
                # An empty list says that nothing was found.
                nothing = name.endswith(" predictions") and kind == "a list"
                yield replace(case, verdict=FINE) if halves or nothing else case
            for kind, path in (("absent", "absent"), ("a folder", "images")):
                build = partial(_write, b"")
                yield _case(f"{name}: {kind}", command, f"{{folder}}/{path}", build)
    for name, command in OF_RUN.items():
        for kind, content in NO_JSON.items():
            build = partial(_folder, content)
            yield _case(f"{name}, a folder of it: {kind}", command, "{folder}/bad", build)
