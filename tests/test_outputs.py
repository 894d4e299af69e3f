import pytest

from imted.errors import UserError
from imted.outputs import LIST, output_file, refuse_others, write_json, write_text


def test_what_was_written_here_may_be_written_anew(tmp_path):
    for text in ("one", "another", "one"):
        write_text(text, tmp_path / "new/a.txt")
        assert (tmp_path / "new/a.txt").read_text() == text
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [LIST, "a.txt"]


@pytest.mark.parametrize("written", [False, True])
def test_another_s_file_stays(tmp_path, written):
    """One that was always another's, or has been changed since it was written."""
    path = tmp_path / "a.json"
    if written:
        write_json([1], path)
    path.write_text("mine")
    with pytest.raises(UserError, match=r"a\.json is there already, and isn't as a command"):
        write_json([2], path)
    assert path.read_text() == "mine"


def test_a_folder_or_a_broken_link_is_another_s(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("folder", "link"):
        with pytest.raises(UserError, match="is there already"):
            write_text("", tmp_path / name)


def test_an_input_stays_even_if_it_was_written_here(tmp_path):
    write_text("old", tmp_path / "a.txt")
    (tmp_path / "other").symlink_to(tmp_path)
    with pytest.raises(UserError, match=r"a\.txt is what the command reads"):
        refuse_others([tmp_path / "b.txt", tmp_path / "other/a.txt"], [tmp_path / "a.txt"])


def test_what_has_failed_is_not_taken_for_written(tmp_path):
    with pytest.raises(ValueError, match="half"), output_file(tmp_path / "a.txt") as partial:
        open(partial, "w").close()
        raise ValueError("half")
    (tmp_path / "a.txt").touch()
    with pytest.raises(UserError, match="is there already"):
        refuse_others([tmp_path / "a.txt"])
