"""Experiments and extras can be deleted, each with its folder; the rest does without them."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT

PACKAGE = Path("projects/imTED/imted")
THIS = Path(__file__).resolve().relative_to(ROOT)
PAGES = Path("tests/project/test_pages.py")  # it knows which pages may be gone
EXPERIMENTS = [
    name
    for name in ("few_shot", "low_shot", "occlusion", "single_object")
    if (ROOT / "configs" / name).is_dir()
]
NEEDS_EXPERIMENTS = pytest.mark.skipif(not EXPERIMENTS, reason="there are no experiments")
EXTRAS = {  # their commands, and the tests of these
    "analysis": ["tools/analyze_results.py", "tests/commands/test_analyze_results.py"],
    "demo": ["demo/demo.py", "tests/commands/test_demo.py"],
    "export": ["tools/export_model.py", "tests/commands/test_export_model.py"],
    "sweep": ["tools/sweep.py"],
    "web": ["demo/web.py", "tests/commands/test_web.py"],
}
WHICH_PACKAGE = """
import importlib.util, sys
import imted, imted.experiments
packages = [imted.__file__, imted.experiments.__file__]
print(*packages, *map(importlib.util.find_spec, sys.argv[1:]), sep="\\n")
"""

IMPORT_ALL = """
import importlib, pkgutil
import imted
for module in pkgutil.walk_packages(imted.__path__, "imted."):
    importlib.import_module(module.name)
"""


IMPORT_TESTS = """
import importlib.util, sys
sys.path += ["tests", "datasets", "tools", "tests/training"]
for number, path in enumerate(sys.argv[1:]):
    spec = importlib.util.spec_from_file_location(f"test_{number}", path)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
"""

LOAD_CONFIGS = """
import imted, sys
from detectron2.config import LazyConfig
for path in sys.argv[1:]:
    LazyConfig.load(path)
"""


def parts_of(name: str) -> list[Path]:
    """List the files and folders of an experiment or an extra."""
    if name in EXTRAS:
        folders = [PACKAGE / "extras" / name, Path("tests/extras", name)]
        return [*folders, *map(Path, EXTRAS[name])]
    return [
        PACKAGE / "experiments" / name,
        Path("configs", name),
        Path("datasets", f"prepare_{name}.py"),
        Path("docs", f"{name}.md"),
        Path("tests/experiments", name),
    ]


def python_files() -> list[Path]:
    """List the Python files that may name a guest."""
    folders = (PACKAGE, "configs", "datasets", "demo", "tools", "tests")
    return [p.relative_to(ROOT) for f in folders for p in sorted((ROOT / f).rglob("*.py"))]


def core_files() -> list[str]:
    """List the Python files that belong to no experiment."""
    own = [
        PACKAGE / "experiments",
        Path("tests/experiments"),
        Path("tests/project", Path(__file__).name),
    ]
    own.append(Path("tests/project/test_pages.py"))  # it knows which pages may be gone
    own += [part for name in EXPERIMENTS for part in parts_of(name)]
    files = [Path("train_net.py")]
    files += python_files()
    return [path.as_posix() for path in files if not any(path.is_relative_to(part) for part in own)]


@NEEDS_EXPERIMENTS
def test_the_core_names_no_experiments_code_or_config():
    names = "|".join(EXPERIMENTS)
    experiments = re.compile(
        r"imted[./]experiments\b|from (?:imted|\.+) import .*\bexperiments\b|from \.+experiments\b"
        rf"|from \.+(?:{names})\b"  # a config of a config
        rf"|configs/(?:{names})\b|[\"'](?:\.\./)*(?:{names})/\w+\.py\b|\bprepare_(?:(?:{names})\b|{{)"
    )
    found = [
        f"{name}:{number}: {line.strip()}"
        for name in core_files()
        for number, line in enumerate((ROOT / name).read_text().splitlines(), 1)
        if experiments.search(line)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_an_experiment_has_all_of_its_parts(experiment):
    _, *others = parts_of(experiment)  # what makes a data set alone is in its command
    assert [str(part) for part in others if not (ROOT / part).exists()] == []


def test_every_experiment_is_known():
    found = {path.parent.name for path in (ROOT / PACKAGE / "experiments").glob("*/__init__.py")}
    assert found <= set(EXPERIMENTS)


def test_every_extra_is_known():
    found = {path.parent.name for path in (ROOT / PACKAGE / "extras").glob("*/__init__.py")}
    assert found <= EXTRAS.keys()


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_is_named_by_its_own_parts_alone(extra):
    own, name = parts_of(extra), re.compile(rf"imted[./]extras[./]{extra}\b")
    found = [
        path.as_posix()
        for path in python_files()
        if name.search((ROOT / path).read_text()) and not any(path.is_relative_to(x) for x in own)
    ]
    assert [
        path for path in found if path != "tests/project/test_pages.py"
    ] == []  # which runs commands


@pytest.fixture
def checkout_without(tmp_path):
    """Copy the checkout without some guests; return its folder and its environment."""

    def copy(*guests: str) -> tuple[Path, dict[str, str]]:
        listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        try:
            names = subprocess.run(listing, cwd=ROOT, capture_output=True, check=True).stdout
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("not a git checkout")
        folder = tmp_path / "copy"
        deleted = [part for name in guests for part in parts_of(name)]
        for name in filter(None, names.decode().split("\0")):
            if (ROOT / name).is_file() and not any(Path(name).is_relative_to(x) for x in deleted):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
        environment = {**os.environ, "PYTHONPATH": str(folder / PACKAGE.parent)}
        roofs = {name: "extras" if name in EXTRAS else "experiments" for name in guests}
        names = [f"imted.{roof}.{name}" for name, roof in roofs.items()]
        result = run([sys.executable, "-c", WHICH_PACKAGE, *names], folder, environment)
        own = [folder / PACKAGE / "__init__.py", folder / PACKAGE / "experiments/__init__.py"]
        assert result.stdout.splitlines() == [*map(str, own), *["None"] * len(guests)]
        return folder, environment

    return copy


def run(command: list[str], folder: Path, environment: dict) -> subprocess.CompletedProcess:
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-5000:] + result.stderr[-5000:]
    return result


@pytest.mark.slow
@pytest.mark.parametrize(
    "guests", [*([name] for name in EXPERIMENTS), EXTRAS], ids=[*EXPERIMENTS, "extras"]
)
def test_all_that_is_left_imports_and_loads(guests, checkout_without):
    """The package, the tests and the configs, in a copy without one or more guests."""
    folder, environment = checkout_without(*guests)

    def left(pattern: str) -> list[str]:
        return [str(path.relative_to(folder)) for path in sorted(folder.glob(pattern))]

    run([sys.executable, "-c", IMPORT_ALL], folder, environment)
    run([sys.executable, "-c", IMPORT_TESTS, *left("tests/**/test_*.py")], folder, environment)
    configs = [name for name in left("configs/**/*.py") if "common" not in name]
    run([sys.executable, "-c", LOAD_CONFIGS, *configs], folder, environment)


@pytest.mark.slow
@NEEDS_EXPERIMENTS
def test_a_training_runs_without_any_guest(checkout_without):
    folder, environment = checkout_without(*EXPERIMENTS, *EXTRAS)
    toy = folder / "tests/training"
    environment["PYTHONPATH"] += os.pathsep + str(toy)
    command = ["train_net.py", "--config-file", str(toy / "toy_config.py")]
    result = run([sys.executable, *command, "train.output_dir=out"], folder, environment)
    assert (folder / "out/model_final.pth").is_file(), result.stdout
