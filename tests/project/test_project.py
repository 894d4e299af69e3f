"""Rules of the repository that a machine can check."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from paths import ROOT

import imted

try:
    import tomllib
except ImportError:  # Python 3.10; pytest brings it there
    import tomli as tomllib


# Private paths and registry hosts; the brackets keep this file from matching itself.
FORBIDDEN = re.compile(
    r"(?<![\w.])/(?:[h]ome|[w]ork|[r]oot|[U]sers)/|[p]ythonhosted|pypi\.org|pkg\.dev|[i]ndex-url"
)
# Words that have given way to others: variant, fix.
WORDS = re.compile(r"\b(?:rungs?|mend(?:s|ed|ing)?)\b", re.IGNORECASE)


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


def read_project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def read_yaml(name: str) -> dict:
    return yaml.safe_load((ROOT / name).read_text())


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


def test_words():
    own = Path(__file__).resolve()
    found = []
    for path in project_files():
        if path.suffix in (".py", ".md") and path != own:
            for number, line in enumerate(path.read_text().splitlines(), 1):
                if word := WORDS.search(line):
                    found.append(f"{path.relative_to(ROOT)}:{number}: {word[0]}")
    assert not found, "\n".join(found)


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_has_its_targets():
    command = ["make", "-n", "demo", "pretrain-demo", "test", "lint", "docs"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(("file", "extra"), [("lock.txt", "dev"), ("docs.txt", "docs")])
def test_pinned_requirements_satisfy_the_ranges(file, extra):
    lines = (ROOT / "requirements" / file).read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    here = [pin for pin in pins if pin.marker is None or pin.marker.evaluate()]
    pinned = {canonicalize_name(pin.name): next(iter(pin.specifier)).version for pin in here}
    project = read_project()
    ranges = project["optional-dependencies"][extra]
    if extra == "dev":
        ranges = ranges + project["dependencies"]
    for wanted in map(Requirement, ranges):
        assert wanted.specifier.contains(pinned[canonicalize_name(wanted.name)]), str(wanted)


@pytest.mark.slow
def test_imports_between_packages():
    command = Path(sys.executable).parent / "lint-imports"
    if not command.exists():
        pytest.skip("import-linter is not installed")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "projects/imTED")}
    result = subprocess.run(
        [command, "--no-cache"], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_workflow_runs_lint_test_and_docs():
    workflow = read_yaml(".github/workflows/ci.yml")
    assert workflow["permissions"] == {"contents": "read"}
    assert all(job["timeout-minutes"] <= 60 for job in workflow["jobs"].values())
    (command,) = [step["run"] for step in workflow["jobs"]["docs"]["steps"] if "run" in step]
    assert command.split()[:2] == ["make", "docs"]
    job = workflow["jobs"]["check"]
    versions = job["strategy"]["matrix"]["python"]
    supported = re.search(r"\((3), (\d+)\) <= .* <= \(3, (\d+)\)", (ROOT / "Makefile").read_text())
    assert versions == [f"3.{n}" for n in range(int(supported[2]), int(supported[3]) + 1)]
    (command,) = [step["run"] for step in job["steps"] if "run" in step]
    python = "PYTHON=python${{ matrix.python }}"
    assert command.startswith("make ") and python in command
    assert command.removeprefix("make ").replace(python, "").split() == ["lint", "test"]
    (cache,) = [step["with"] for step in job["steps"] if "cache" in step.get("uses", "")]
    assert cache["path"] == ".venv"
    for file in ("requirements/*.txt", "pyproject.toml"):
        assert f"'{file}'" in cache["key"]


def test_pre_commit_runs_make_lint():
    (repository,) = read_yaml(".pre-commit-config.yaml")["repos"]
    (hook,) = repository["hooks"]
    assert (repository["repo"], hook["entry"], hook["language"]) == ("local", "make lint", "system")
    assert hook["pass_filenames"] is False  # make would take them for targets


def test_one_version_everywhere():
    project = read_project()
    assert project["version"] == imted.__version__
    assert read_yaml("CITATION.cff")["version"] == imted.__version__
    headings = re.findall(r"^## (\d[\d.]*)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == imted.__version__


def test_citation_is_the_readmes():
    citation = read_yaml("CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    assert citation["license"] == read_project()["license"]
    paper = citation["preferred-citation"]
    readme = (ROOT / "README.md").read_text()
    authors = " and ".join(f"{a['family-names']}, {a['given-names']}" for a in paper["authors"])
    assert f"title     = {{{paper['title']}}}" in readme
    assert f"author    = {{{authors}}}" in readme
    assert f"year = {{{paper['year']}}}, pages = {{{paper['start']}--{paper['end']}}}" in readme
    numbers = [x["value"].partition("arXiv:")[2] for x in paper["identifiers"]]
    assert any(number and f"https://arxiv.org/abs/{number}" in readme for number in numbers)
