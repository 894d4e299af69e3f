"""What a run says, on the console and in log.txt."""

import logging
import re
from pathlib import Path

import pytest

from imted.training.console import format_results, start_logging

PROGRESS = re.compile(r"^\[\d\d:\d\d:\d\d\]  (eta|iter): ", re.MULTILINE)


@pytest.fixture
def printed(train_net, tmp_path, capsys):
    assert train_net(f"train.output_dir={tmp_path}") == 0
    return capsys.readouterr().out


def test_one_screen_before_the_training(printed, tmp_path):
    start = printed[: PROGRESS.search(printed).start()].splitlines()
    assert len(start) <= 24
    text = "\n".join(start)
    for part in ("machine", "6 iterations", "base learning rate 0.01", str(tmp_path / "log.txt")):
        assert part in text


def test_one_block_at_the_end(printed, tmp_path):
    end = printed.splitlines()[-8:]
    titles = [line.split()[0] for line in end if line and not line.startswith(" ")]
    assert titles == ["done", "result", "best", "files", "next"]
    text = "\n".join(end)
    assert f"--config-file {tmp_path}/config.yaml --eval-only" in text
    assert f"train.init_checkpoint={tmp_path}/model_best.pth" in text
    assert "model_final.pth" in text


def test_the_log_has_everything_without_colours(printed, tmp_path):
    log = (tmp_path / "log.txt").read_text()
    assert "\x1b" not in log
    for part in ("Environment:", "Command line:", "Config:", "accumulation_steps: 2", "eta: "):
        assert part in log and (part not in printed or part == "eta: ")


def test_a_resumed_run_states_the_base_learning_rate(train_net, tmp_path, capsys):
    folder = f"train.output_dir={tmp_path}"
    assert train_net(folder, "train.max_iter=4") == 0
    capsys.readouterr()
    assert train_net("--resume", folder) == 0
    assert "base learning rate 0.01" in capsys.readouterr().out


def test_colours_of_libraries_stay_out_of_the_log(tmp_path):
    loggers = [logging.getLogger(name) for name in ("detectron2", "fvcore", "imted")]
    before = [(x.handlers[:], x.level, x.propagate) for x in loggers]
    start_logging(str(tmp_path))
    logging.getLogger("detectron2.data").info("\x1b[36mtable\x1b[0m")
    for x, (x.handlers, level, x.propagate) in zip(loggers, before, strict=True):
        x.setLevel(level)
    assert "INFO: table\n" in (tmp_path / "log.txt").read_text()


@pytest.mark.parametrize(
    ("results", "line"),
    [
        ({"bbox": {"AP": 27.14, "AP50": 64.5}}, "box AP 27.1 (AP50 64.5)"),
        ({"segm": {"AP": float("nan"), "nAP": 3}}, "mask AP none (nAP 3.0)"),
        ({"single_object": {"mAP": 1.0, "Acc": 2.0}}, "single_object mAP 1.0, Acc 2.0"),
    ],
)
def test_results_in_one_line(results, line):
    assert format_results(results) == line


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's full device")
@pytest.mark.parametrize("stream", ["closed", "full"])
def test_a_training_goes_on_without_its_console(new_python, toy_config, tmp_path, stream):
    script = tmp_path / "script.py"
    opened = "os.open('/dev/full', os.O_WRONLY)" if stream == "full" else "write"
    script.write_text(
        "import os, sys\n"
        "from imted.training.launcher import main\n"
        "read, write = os.pipe()\n"
        "os.close(read)\n"
        f"os.dup2({opened}, 1)\n"
        f"sys.exit(main(['--config-file', {toy_config!r}, 'train.output_dir={tmp_path}/run']))\n"
    )
    done = new_python(script)
    assert "Logging error" not in done.stderr and "Traceback" not in done.stderr
    assert (tmp_path / "run/model_final.pth").is_file()
    assert done.returncode == 0, done.stderr
