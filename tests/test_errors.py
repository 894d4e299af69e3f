import io

import pytest

from imted.errors import UserError, exit_status


def fail(error):
    raise error


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (UserError("x.json: no 'images'."), "x.json: no 'images'."),
        (PermissionError(13, "Permission denied", "x"), "x: Permission denied."),
        (OSError("disk full"), "disk full."),
        (
            RuntimeError(
                "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"
            ),
            "The memory is full; lower the batch size or num_workers.",
        ),
        (
            RuntimeError("unable to write to file </torch_12_34>: No space left on device (28)"),
            "The shared memory (/dev/shm) is full, by which processes hand over images: enlarge it "
            "(docker run --shm-size=8g), or set dataloader.train.num_workers=0 and "
            "dataloader.test.num_workers=0.",
        ),
        (
            NotImplementedError(
                "The operator 'aten::nms' is not currently implemented for the MPS device. If you "
                "want this op to be added, comment on an issue.\nAs a temporary fix, ..."
            ),
            "torch has no aten::nms for mps yet: set PYTORCH_ENABLE_MPS_FALLBACK=1 in the "
            "environment, by which it runs on the CPU, or train.device=cpu.",
        ),
        (
            NotImplementedError(
                "Could not run 'torchvision::nms' with arguments from the 'XPU' backend."
            ),
            "torch has no torchvision::nms for xpu yet: set PYTORCH_ENABLE_XPU_FALLBACK=1 in the "
            "environment, by which it runs on the CPU, or train.device=cpu.",
        ),
    ],
)
def test_an_error_is_one_line_and_status_1(error, line, capsys):
    assert exit_status(fail)(error) == 1
    assert capsys.readouterr() == ("", f"error: {line}\n")


def test_what_a_terminal_cannot_show_is_written_otherwise(monkeypatch):
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stderr", terminal)
    assert exit_status(fail)(UserError("a\ud800 é.")) == 1
    terminal.seek(0)
    assert terminal.read() == "error: a\\ud800 \\xe9.\n"


def test_a_locale_without_utf_8_is_refused_before_a_text_is_read(monkeypatch, capsys):
    called = []
    command = exit_status(lambda: called.append(1))
    monkeypatch.setattr("locale.getpreferredencoding", lambda do_setlocale: "ISO-8859-1")
    assert command() == 1 and not called
    assert "set PYTHONUTF8=1" in capsys.readouterr().err
    monkeypatch.setattr("locale.getpreferredencoding", lambda do_setlocale: "UTF8")
    assert command() == 0 and called


def test_a_bug_keeps_its_trace():
    with pytest.raises(KeyError):
        exit_status(fail)(KeyError("x"))


@pytest.mark.parametrize(("result", "status"), [(None, 0), (0, 0), (1, 1)])
def test_status_is_that_of_main_or_0(result, status):
    assert exit_status(lambda: result)() == status


def test_ctrl_c_is_one_line(capsys):
    assert exit_status(fail)(KeyboardInterrupt()) == 130
    assert capsys.readouterr() == ("", "Stopped by Ctrl-C.\n")


@pytest.mark.slow
def test_a_reader_who_has_had_enough_ends_a_command_quietly(new_python, tmp_path):
    """As `| head -1` does."""
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys\n"
        "from imted.errors import exit_status\n"
        "read, write = os.pipe()\n"
        "os.close(read)\n"
        "os.dup2(write, 1)\n"
        "sys.exit(exit_status(lambda: print('x' * 100_000))())\n"
    )
    done = new_python(script)
    assert (done.returncode, done.stderr) == (1, "")
