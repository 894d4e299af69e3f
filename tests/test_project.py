"""Rules of the repository that a machine can check."""

import ast
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

try:
    import tomllib
except ImportError:  # Python 3.10; pytest brings it there
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "projects/imTED/imted"

# Private paths and registry hosts; the brackets keep this file from matching itself.
FORBIDDEN = re.compile(
    r"(?<![\w.])/(?:[h]ome|[w]ork|[r]oot|[U]sers)/|[p]ythonhosted|pypi\.org|pkg\.dev|[i]ndex-url"
)


def project_files() -> list[Path]:
    """List the files of the repository: tracked, or new and not ignored."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listing = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [
        ROOT / name for name in listing.decode().split("\0") if name and (ROOT / name).is_file()
    ]


def test_no_file_names_a_private_path_or_a_registry_host():
    found = []
    for path in project_files():
        content = path.read_bytes()
        if b"\0" in content:  # not text
            continue
        for number, line in enumerate(content.decode(errors="replace").splitlines(), 1):
            if FORBIDDEN.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert not found, "\n".join(found)


def test_readme_names_the_two_commands():
    readme = (ROOT / "README.md").read_text()
    assert "make demo" in readme
    assert "make test" in readme


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize("target", ["demo", "pretrain-demo", "test", "lint"])
def test_make_target(target):
    result = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_pinned_requirements_satisfy_the_ranges():
    lines = (ROOT / "requirements/lock.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    pinned = {canonicalize_name(pin.name): next(iter(pin.specifier)).version for pin in pins}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    ranges = project["dependencies"] + project["optional-dependencies"]["dev"]
    for wanted in map(Requirement, ranges):
        assert wanted.specifier.contains(pinned[canonicalize_name(wanted.name)]), str(wanted)


@pytest.mark.parametrize(
    ("part", "others"),
    [
        ("modeling", {"data", "evaluation", "engine", "checkpoint"}),
        ("data", {"modeling"}),
        ("evaluation", {"modeling"}),
    ],
)
def test_layers_of_the_package(part, others):
    for path in (PACKAGE / part).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                modules = [name.name for name in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level <= 1, f"{path.name}: a relative import leaves {part}"
                modules = [f"{node.module}.{name.name}" for name in node.names]
            else:
                continue
            for module in modules:
                package, _, rest = module.partition(".")
                reached = package == "imted" and rest.split(".")[0] in others
                assert not reached, f"{path.name} imports {module}"
