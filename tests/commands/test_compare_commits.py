"""This tree against commits of a repository of its own, by the toy's training."""

import re
import subprocess

import pytest
from paths import ROOT


def has(commit: str) -> bool:
    command = ("git", "-C", ROOT, "cat-file", "-e", commit)
    return subprocess.run(command, capture_output=True).returncode == 0


needs_repository = pytest.mark.skipif(not has("HEAD"), reason="this is no clone")


@pytest.mark.slow
@needs_repository
def test_a_commit_against_this_tree(shell, toy_config):
    process = shell(
        *("tools/maintain/compare_commits.py", "HEAD", "--config-file", toy_config),
        *("--allow", "toy_training", "--iterations", 4, "--repeats", 1),
        "train.accumulation_steps=1",
    )
    assert process.returncode == 0, process.stderr
    header, _, *rows = process.stdout.splitlines()[:5]
    assert re.split(r"  +", header.strip())[0] == "s / iteration"
    names = [re.split(r"  +", row)[0] for row in rows]
    assert names == ["HEAD", "now, settings of HEAD", "now"]
    for row in rows[1:]:
        ratios = re.findall(r"([\d.]+) \(([\d.]+) to ([\d.]+)\)", row)
        assert len(ratios) == 2
        assert all(float(low) <= float(mid) <= float(high) for mid, low, high in ratios)
    # The same code, settings and seed.
    assert process.stdout.splitlines()[-1].endswith("by the same settings: 0")


@needs_repository
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("no-such-commit",), '"no-such-commit" can\'t be had from the repository'),
        (("HEAD", "--iterations", 1), "--iterations must be at least 2"),
        (("HEAD", "train.max_itr=3"), "has ended after 0 of 60 iterations: error: train.max_itr"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(shell, toy_config, arguments, message):
    process = shell("tools/maintain/compare_commits.py", "--config-file", toy_config, *arguments)
    assert process.returncode == 1
    assert message in process.stderr
    assert "Traceback" not in process.stderr


@pytest.mark.slow
@needs_repository
def test_the_starts_of_a_predictor(shell, detector_run):
    tool = ("tools/maintain/compare_commits.py", "HEAD", "--repeats", 1, "--predictor")
    process = shell(*tool, detector_run())
    assert process.returncode == 0, process.stderr
    _, _, *rows = [re.split(r"  +", line) for line in process.stdout.splitlines()]
    assert [row[0] for row in rows] == ["HEAD", "now", "torch"]
    assert all(float(row[1]) > 0 for row in rows)
    assert float(rows[2][2]) < float(rows[0][2]) == 1  # a start takes more than its first import
    process = shell(*tool, "nowhere")
    assert process.returncode == 1 and "nowhere" in process.stderr
    assert "Traceback" not in process.stderr
