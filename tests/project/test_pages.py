"""The pages: links and pictures exist, commands can be pasted, configs can be loaded.

Commands are read by bash itself, which runs them with every program replaced by one that notes
its arguments; then each program's own parser, and the config, have to accept these.
"""

import argparse
import functools
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from detectron2.config import LazyConfig
from detectron2.data import DatasetCatalog, MetadataCatalog
from omegaconf import OmegaConf
from paths import ROOT

from imted.config.load import load_config
from imted.training.launcher import argument_parser

# An experiment can be deleted with its page; other pages may go on naming it.
EXPERIMENTS = ("few_shot", "low_shot", "occlusion", "single_object")
GONE = [name for name in EXPERIMENTS if not (ROOT / "configs" / name).is_dir()]
BASH = shutil.which("bash")
LANGUAGES = {"bash", "bibtex", "json", "python", "text"}
PYTHON_PROGRAMS = ("python", "imted", "torchrun")
OTHER_PROGRAMS = ("git", "make", "nvcc", "pip", "rm", "scontrol", "srun", "tensorboard")
ELSEWHERE = ("../", "/")  # other repositories' files, and folders of the reader's
# What an argument looks like that the reader is to replace.
PLACEHOLDER = re.compile(r"…|\.\.\.|<\w+>|(?<![\w-])[A-Z][A-Z0-9_]{2,}(?![\w-])")
CAPITALS = {"AP50", "AP75", "COCO"}  # that belong to an argument
LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\[\]]*\])*\]\(([^()\s]+)\)")


def list_pages() -> list[str]:
    """List the Markdown files that are tracked, or new and not ignored."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    try:
        listing = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True)
        names = listing.stdout.split("\n")
    except (OSError, subprocess.CalledProcessError):  # not a git checkout
        folders = (".", "docs", "datasets", "projects/imTED", "projects/imTED/weights")
        names = [str(p.relative_to(ROOT)) for f in folders for p in (ROOT / f).glob("*.md")]
    return sorted(name for name in names if name and (ROOT / name).is_file())


PAGES = list_pages()


def split_page(name: str) -> tuple[list[tuple[int, str]], list[tuple[int, str, str]]]:
    """Return the lines of prose and the blocks of code, with the number of the (first) line."""
    prose: list[tuple[int, str]] = []
    blocks: list[tuple[int, str, str]] = []
    block: list[str] | None = None
    for number, line in enumerate((ROOT / name).read_text().splitlines(), 1):
        if not line.startswith("```"):
            (prose.append((number, line)) if block is None else block.append(line))
        elif block is None:
            block, start, language = [], number + 1, line.removeprefix("```").strip()
        else:
            blocks.append((start, language, "\n".join(block)))
            block = None
    assert block is None, f"{name}:{start}: the block has no end"
    return prose, blocks


@functools.cache
def anchors(path: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    found: dict[str, int] = {}
    result = set()
    for _, line in split_page(str(path.relative_to(ROOT)))[0]:
        if not (heading := re.match(r"#{1,6} +(.*)", line)):
            continue
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1]).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        count = found[slug] = found.get(slug, -1) + 1
        result.add(f"{slug}-{count}" if count else slug)
    return result


@pytest.mark.parametrize("name", PAGES)
def test_links_and_pictures_exist(name):
    page, wrong = ROOT / name, []
    for number, line in split_page(name)[0]:
        targets = LINK.findall(re.sub(r"`[^`]*`", "", line))
        for target in [*targets, *re.findall(r"""(?:src|href)=["']([^"']+)""", line)]:
            if re.match(r"[a-z]+:", target) or any(name in target for name in GONE):
                continue
            file, _, anchor = target.partition("#")
            path = (page.parent / file).resolve() if file else page
            if not path.exists():
                wrong.append(f"{name}:{number}: {file} doesn't exist")
            elif anchor and (path.suffix != ".md" or anchor not in anchors(path)):
                wrong.append(f"{name}:{number}: {target} has no such heading")
    assert not wrong, "\n".join(wrong)


def test_every_page_of_docs_is_linked_from_their_index():
    index = (ROOT / "docs/README.md").read_text()
    assert [p.name for p in (ROOT / "docs").glob("*.md") if f"({p.name}" not in index] == [
        "README.md"
    ]
    navigation = (ROOT / "mkdocs.yml").read_text()
    pages = {p.name for p in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert [name for name in sorted(pages) if f": {name}\n" not in navigation] == []


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


@pytest.mark.parametrize("name", PAGES)
def test_blocks_name_their_language(name):
    blocks = split_page(name)[1]
    assert not [f"{name}:{line}" for line, language, _ in blocks if language not in LANGUAGES]


# Configs and commands


CONFIGS = [
    pytest.param(text, id=f"{name}:{line}")
    for name in PAGES
    for line, language, text in split_page(name)[1]
    if language == "python" and "model_zoo.get_config(" in text and text.startswith('"""')
]


def test_some_page_shows_a_config():
    assert CONFIGS


@pytest.mark.parametrize("text", CONFIGS)
def test_configs_of_pages_can_be_loaded(text, tmp_path):
    path = tmp_path / "config.py"
    path.write_text(text)
    before = set(DatasetCatalog.list())
    try:
        load_config(str(path))
    finally:
        for name in set(DatasetCatalog.list()) - before:
            DatasetCatalog.remove(name)
            MetadataCatalog.remove(name)


COMMANDS = [
    pytest.param(text, id=f"{name}:{line}")
    for name in PAGES
    for line, language, text in split_page(name)[1]
    if language == "bash" and not any(experiment in text for experiment in GONE)
]


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """Make a folder of programs that write their arguments to $NOTES and do nothing else."""
    folder = tmp_path_factory.mktemp("programs")
    for name in (*PYTHON_PROGRAMS, *OTHER_PROGRAMS):
        path = folder / name
        path.write_text(f"#!{BASH}\nprintf '%s\\0' {name} \"$@\" $'\\1' >> \"$NOTES\"\n")
        path.chmod(0o755)
    # Slurm starts one shell a machine, which expands what is in quotes.
    (folder / "srun").write_text(f'#!{BASH}\nwhile [ "$1" != bash ]; do shift; done\nexec "$@"\n')
    (folder / "bash").symlink_to(BASH)
    return folder


def read_commands(block: str, programs: Path, folder: Path) -> list[list[str]]:
    """Return the commands of a block, as bash expands them."""
    notes = folder / "notes"
    environment = {
        "PATH": str(programs),
        "NOTES": str(notes),
        **{f"SLURM_{key}": "0" for key in ("NNODES", "NODEID", "JOB_NODELIST")},
    }
    (folder / "tests/method").mkdir(parents=True)  # a command writes there
    done = subprocess.run(
        [BASH, "-eu", "-c", block], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    noted = notes.read_text() if notes.exists() else ""
    return [command.split("\0")[:-1] for command in noted.split("\1\0") if command]


@functools.cache
def output_folders() -> dict[str, str]:
    """Return which config writes to a folder by default, the last by name where several do."""
    found = {}
    for path in sorted((ROOT / "configs").rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        if "common" in (path.stem, path.relative_to(ROOT).parts[1]):
            continue
        cfg = LazyConfig.load(str(path))
        folder = OmegaConf.select(cfg, "train.output_dir")
        found[folder] = name
    return found


def check_training(arguments: list[str]) -> None:
    """Have the launcher's parser and the config accept a command line of train_net.py."""
    if {"-h", "--help"} & set(arguments):
        return
    args = argument_parser().parse_args(arguments)
    if not args.config_file.startswith(ELSEWHERE):
        load_config(config_behind(args.config_file), args.opts)


def config_behind(config: str) -> str:
    """Return the path of a config; for one that a run has left, of that which it came from."""
    if config.startswith("output/"):
        folder, _, file = config.rpartition("/")
        assert file == "config.yaml" and folder in output_folders(), config
        config = output_folders()[folder]
    assert (ROOT / config).is_file(), config
    return str(ROOT / config)


class _Parsed(BaseException):
    """A script's parser has accepted the command line."""


def check_script(script: str, arguments: list[str], monkeypatch) -> None:
    """Run a script up to where it has read its command line."""
    assert (ROOT / script).is_file(), script
    for name in ("parse_args", "parse_intermixed_args"):
        parse = getattr(argparse.ArgumentParser, name)

        def stop(*args, parse=parse, **kwargs):
            parsed = parse(*args, **kwargs)
            assert all("=" in word for word in getattr(parsed, "opts", ())), parsed.opts
            raise _Parsed

        monkeypatch.setattr(argparse.ArgumentParser, name, stop)
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    monkeypatch.syspath_prepend(str((ROOT / script).parent))
    with pytest.raises(_Parsed):
        runpy.run_path(str(ROOT / script), run_name="__main__")
    monkeypatch.undo()


def check_config_of_tool(arguments: list[str]) -> None:
    """Check the config that a tool is given, and its overrides."""
    points = pytest.importorskip("imted.extras.sweep.points")
    if "--config-file" in arguments:
        config = arguments[arguments.index("--config-file") + 1]
        overrides = [a for a in arguments if re.match(r"[a-z_]+(\.\w+)+=", a)]
        named = None
        if "--points" in arguments:
            named = points.read_points(str(ROOT / arguments[arguments.index("--points") + 1]))
        for point in points.expand(overrides, named):  # of a sweep; else there is one
            load_config(config_behind(config), point.overrides)


@pytest.mark.slow
@pytest.mark.skipif(BASH is None, reason="bash is not installed")
@pytest.mark.parametrize("block", COMMANDS)
def test_commands_can_be_pasted(block, programs, tmp_path, monkeypatch):
    monkeypatch.delenv("DETECTRON2_DATASETS", raising=False)
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for program, *arguments in read_commands(block, programs, tmp_path):
        left = {x for a in arguments for x in PLACEHOLDER.findall(re.sub(r"^[A-Z]+=", "", a))}
        assert left <= CAPITALS, f"{program}: {left} stands for an argument"
        if program == "make":
            unknown = [a for a in arguments if "=" not in a and a not in targets]
            assert not unknown
        if program == "torchrun":
            program, arguments = "python", arguments[arguments.index("train_net.py") :]
        if program == "imted":
            program, arguments = "python", ["train_net.py", *arguments]
        if program != "python" or arguments[0].startswith("-"):
            continue
        script, *arguments = arguments
        if script == "train_net.py":
            check_training(arguments)
        elif not script.startswith(ELSEWHERE):
            check_script(script, arguments, monkeypatch)
            check_config_of_tool(arguments)
        elif "--config-file" in arguments:
            check_config_of_tool(arguments)


@pytest.mark.skipif(BASH is None, reason="bash is not installed")
@pytest.mark.parametrize(
    ("block", "wrong"),
    [
        ("python train_net.py --config-file configs/quickstart.py train.max_itr=5", "max_itr"),
        ("python train_net.py --config-file configs/no.py", "no.py"),
        ("python tools/no.py", "no.py"),
        ("python tools/sweep.py --points a.py b.py", "b.py"),
        ("python train_net.py --config-file CONFIG", "CONFIG"),
        ("python train_net.py … ", "…"),
        ("python train_net.py --config-file $CONFIG", "unbound"),
        ("make dinner", "dinner"),
        ("start the training", "command not found"),
    ],
)
def test_what_can_not_be_pasted_is_found(block, wrong, programs, tmp_path, monkeypatch):
    with pytest.raises(BaseException, match=wrong):
        test_commands_can_be_pasted(block, programs, tmp_path, monkeypatch)
