#!/usr/bin/env python
"""Build environments of old and of new versions, and try in each what a user does.

In each: the fast tests, the demo's config for 20 iterations, `--eval-only` of what came out, and
its export to ONNX with an evaluation of the file. The table goes into docs/install.md.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/install.md"
BEGIN, END = "<!-- make matrix -->", "<!-- end of make matrix -->"
PYTHONS = ("python3.14", "python3.13", "python3.12", "python3.11", "python3.10")
DETECTRON2 = "git+https://github.com/facebookresearch/detectron2.git"
SHOWN = ("torch", "torchvision", "numpy", "opencv-python-headless", "timm", "setuptools")
GUESTS = ".[dev,export,sweep,web]"
PRINT_VERSIONS = f"""
import json, platform
from importlib.metadata import version
print(json.dumps({{"python": platform.python_version(), **{{n: version(n) for n in {SHOWN}}}}}))
"""


@dataclass(frozen=True)
class Environment:
    """What is installed.

    Attributes:
        name: Of its folder and its row.
        pythons: Names of interpreters; the first that is there is taken.
        constraints: A file of versions; None for whatever is newest.
        wheel: Detectron2's Python part from a wheel of the older commit; else its newest commit,
            which is compiled.
    """

    name: str
    pythons: Sequence[str]
    constraints: Path | None
    wheel: bool


ENVIRONMENTS = (
    Environment("oldest", ("python3.10",), ROOT / "requirements/oldest.txt", wheel=True),
    Environment("pinned", ("python3.11", "python3.12"), ROOT / "requirements/lock.txt", wheel=True),
    Environment("newest", PYTHONS, None, wheel=False),
)


def main() -> int:
    """Run the command line; the status is 1 if anything has failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=ROOT / "build/matrix", metavar="FOLDER",
                        help="for the environments and logs (%(default)s)")  # fmt: skip
    parser.add_argument("--only", nargs="+", choices=[e.name for e in ENVIRONMENTS],
                        help="these environments; the others' rows stay as they were")  # fmt: skip
    parser.add_argument("--detectron2", default=DETECTRON2, metavar="SOURCE",
                        help="the newest Detectron2, as pip takes it (%(default)s)")  # fmt: skip
    args = parser.parse_args()
    folder = args.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for environment in ENVIRONMENTS:
        saved = folder / f"{environment.name}.json"
        if args.only is None or environment.name in args.only:
            row = try_out(environment, folder, args.detectron2)
            print("| " + " | ".join(row.values()) + " |", flush=True)
            saved.write_text(json.dumps(row))
        if saved.is_file():
            rows.append(json.loads(saved.read_text()))
    write_table(rows)
    return int(any("failed" in value for row in rows for value in row.values()))


def try_out(environment: Environment, folder: Path, detectron2: str) -> dict[str, str]:
    """Build an environment and do everything in it; return its row of the table."""
    row = {"": environment.name}
    base = next((python for python in environment.pythons if shutil.which(python)), None)
    if base is None:
        return row | {"Python": f"failed: no {' or '.join(environment.pythons)} here"}
    log = folder / f"{environment.name}.log"
    log.write_text("")
    python = folder / environment.name / "bin/python"
    shutil.rmtree(folder / environment.name, ignore_errors=True)
    for command in installation(environment, base, python, detectron2):
        if run(command, log):
            return row | {"Python": f"failed: {' '.join(command[:6])}; see {log}"}
    versions = json.loads(subprocess.check_output([python, "-c", PRINT_VERSIONS], text=True))
    row |= {"Python": versions.pop("python"), **versions}
    row["Detectron2"] = "a59f0563" if environment.wheel else "newest"
    return row | results(python, folder / f"{environment.name}_runs", log)


def installation(
    environment: Environment, base: str, python: Path, detectron2: str
) -> list[list[str]]:
    """Return the commands that build an environment."""
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install"]
    bound = ["--constraint", str(environment.constraints)] if environment.constraints else []
    commands = [
        [base, "-m", "venv", str(python.parents[1])],
        [*pip, *bound, "setuptools>=77", "wheel", "ninja"],
        [*pip, *bound, "torch", "torchvision"],
        [*pip, *bound, "--no-build-isolation", "--editable", GUESTS],
    ]
    if environment.wheel:
        site = python.parents[1] / "lib" / base / "site-packages"
        wheel = ["--require-hashes", "--no-deps", "--only-binary=:all:", "--python-version", "3.10"]
        wheel += ["--target", str(site), "--requirement", str(ROOT / "requirements/detectron2.txt")]
        return [*commands, [*pip, *wheel]]
    return [*commands, [*pip, "--no-build-isolation", detectron2]]


def results(python: Path, folder: Path, log: Path) -> dict[str, str]:
    """Test, train, evaluate and export; return what came of each."""
    shutil.rmtree(folder, ignore_errors=True)
    os.environ["DETECTRON2_DATASETS"] = str(folder)
    trained, row = folder / "trained", {}
    tests = ("-m", "pytest", "-m", "not slow", "-n", "2", "-p", "no:cacheprovider")
    run([str(python), *tests, "--ignore", "tests/project"], log)  # what came of them is counted
    counted = re.findall(r"\d+ (?:passed|failed|errors?)", log.read_text())[-3:]
    row["fast tests"] = ", ".join(counted) or f"failed; see {log}"
    shapes = ("--max-objects", "4", "--min-object", "0.25", "--class-colours")
    few = ("--train-images", "60", "--val-images", "10", "--output", str(folder / "shapes"))
    steps = {
        "data": ("datasets/prepare_shapes.py", *shapes, *few),
        "20 iterations": (
            *("train_net.py", "--config-file", "configs/quickstart.py", "train.max_iter=20"),
            *("train.device=cpu", f"train.output_dir={trained}"),
        ),
        "--eval-only": (
            *("train_net.py", "--config-file", f"{trained}/config.yaml", "--eval-only"),
            f"train.init_checkpoint={trained}/model_final.pth",
        ),
        "ONNX": (
            *("tools/export_model.py", str(trained), "--format", "onnx", "--run-eval"),
            *("--device", "cpu", "--output", str(folder / "exported")),
        ),
    }
    for name, words in steps.items():
        if run([str(python), *words], log):
            return row | {name: f"failed; see {log}"}
    ap = [box_ap(trained / "results.json"), box_ap(trained / "eval/results.json")]
    row["20 iterations"] = f"box AP {ap[0]:.2f}"
    row["--eval-only"] = f"{ap[1] - ap[0]:+.2f}"
    exported = re.findall(r"\(([+-]\d+\.\d+)\)", log.read_text())
    row["ONNX"] = exported[-1] if exported else "done"
    return row


def box_ap(path: Path) -> float:
    """Read a run's box AP."""
    return json.loads(path.read_text())["bbox"]["AP"]


def run(command: Sequence[str], log: Path) -> int:
    """Run a command in the repository and append what it says to a log; return its status."""
    print(" ".join(command)[:160], flush=True)
    with open(log, "a") as file:
        file.write(f"$ {' '.join(command)}\n")
        file.flush()
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        return subprocess.run(
            command, cwd=ROOT, env=environment, stdout=file, stderr=file
        ).returncode


def write_table(rows: Sequence[dict[str, str]]) -> None:
    """Put the table into docs/install.md, in place of the earlier one."""
    header = list(dict.fromkeys(key for row in rows for key in row))
    lines = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    lines += ["| " + " | ".join(row.get(key, "") for key in header) + " |" for row in rows]
    text = PAGE.read_text()
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    table = "\n".join(lines)
    PAGE.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}")


if __name__ == "__main__":
    sys.exit(main())
