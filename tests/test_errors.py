import pytest

from imted.errors import UserError, exit_status


def fail(error):
    raise error


@pytest.mark.parametrize("error", [UserError("x.json: no 'images'."), OSError("x.json: a folder")])
def test_a_mistake_is_one_line_and_status_1(error, capsys):
    assert exit_status(fail)(error) == 1
    assert capsys.readouterr() == ("", f"error: {error}\n")


def test_a_fault_of_the_code_keeps_its_trace():
    with pytest.raises(KeyError):
        exit_status(fail)(KeyError("x"))


@pytest.mark.parametrize(("result", "status"), [(None, 0), (0, 0), (1, 1)])
def test_status_is_that_of_main_or_0(result, status):
    assert exit_status(lambda: result)() == status
