import json
from pathlib import Path

import pytest

from imted.errors import UserError
from imted.extras.demo.inputs import image_ids, list_inputs, picture_paths


@pytest.fixture
def folder(tmp_path):
    for name in ("b.jpg", "a.png", "sub/c.JPG", "notes.txt", "out/old.jpg"):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "images"


def names(files, root):
    return [str(file.relative_to(root)) for file in files]


def test_files_folders_and_globs(folder):
    assert names(list_inputs([str(folder)]), folder) == [
        "a.png",
        "b.jpg",
        "out/old.jpg",
        "sub/c.JPG",
    ]
    assert names(list_inputs([f"{folder}/**/*.jpg"]), folder) == ["b.jpg", "out/old.jpg"]
    # A file is taken at its word, whatever its name; none comes twice.
    both = list_inputs([str(folder / "notes.txt"), str(folder / "b.jpg"), f"{folder}/b.*"])
    assert names(both, folder) == ["notes.txt", "b.jpg"]


def test_what_was_written_before_is_no_input(folder):
    assert names(list_inputs([str(folder)], str(folder / "out")), folder) == [
        "a.png",
        "b.jpg",
        "sub/c.JPG",
    ]


def test_a_file_whose_name_looks_like_a_glob(tmp_path):
    (tmp_path / "a[1].jpg").touch()
    assert list_inputs([str(tmp_path / "a[1].jpg")]) == [tmp_path / "a[1].jpg"]


def test_nothing_to_read(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty .* holds no images"):
        list_inputs([str(tmp_path / "empty")])
    for item in ("absent.jpg", f"{folder}/*.tif"):
        with pytest.raises(UserError, match="doesn't exist"):
            list_inputs([item])


def test_each_image_has_a_picture_of_its_own(tmp_path):
    files = [tmp_path / name for name in ("x/a.png", "x/a.jpg", "x/b.tif", "y/a.png")]
    pictures = picture_paths(files, "out")
    assert [str(p) for p in pictures.values()] == [
        "out/x/a.png.jpg",
        "out/x/a.jpg.jpg",
        "out/x/b.jpg",
        "out/y/a.jpg",
    ]


def test_one_image(tmp_path):
    assert picture_paths([tmp_path / "a.png"], "out") == {tmp_path / "a.png": Path("out/a.jpg")}


def test_ids_of_a_json(tmp_path):
    images = [{"id": 7, "file_name": "a.png"}, {"id": 9, "file_name": "sub/a.png"}]
    content = {"images": images, "annotations": [], "categories": []}
    (tmp_path / "val.json").write_text(json.dumps(content))
    files = [tmp_path / "sub/a.png", tmp_path / "a.png"]
    assert list(image_ids(files, str(tmp_path / "val.json")).values()) == [9, 7]
    assert list(image_ids(files).values()) == [1, 2]
    with pytest.raises(UserError, match=r"b.png .* isn't among the images of"):
        image_ids([tmp_path / "b.png"], str(tmp_path / "val.json"))
