"""A json that is read without its images is checked and repaired as before a training."""

import copy
import json
import logging
import shutil
from pathlib import Path

import pytest

from imted.data import read_coco
from imted.errors import UserError


@pytest.fixture(autouse=True)
def seen_by_caplog(monkeypatch):
    monkeypatch.setattr(logging.getLogger("imted"), "propagate", True)


def test_a_correct_json_is_returned_as_it_is_and_no_image_is_opened(folder, caplog):
    shutil.rmtree(folder.images)
    folder.content["images"][0].update(width=9)  # which the file would contradict
    assert read_coco(folder.write()) == folder.content
    assert caplog.text == ""


def test_what_can_be_repaired_is_and_is_said(folder, caplog):
    first, second, third, _ = folder.content["annotations"]
    expected = copy.deepcopy(folder.content)
    first.update(id=0)
    second.update(image_id=77)
    del third["iscrowd"]  # as LVIS has it, which needs no word
    expected["annotations"] = [
        {**expected["annotations"][0], "id": 15},
        *expected["annotations"][2:],
    ]
    path = folder.write()
    before = Path(path).read_bytes()
    assert read_coco(path) == expected
    assert Path(path).read_bytes() == before
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: repaired: annotations of an image that the json does not have (1): "
        "annotation 12 (image 77); dropped.",
        f"{path}: repaired: annotation ids that are not a positive integer (COCO's evaluation "
        "counts a detection matched to annotation 0 as wrong) (1): annotation 0 (image 1 (1.png)); "
        "renumbered.",
    ]


def test_what_only_the_user_can_judge_is_said(folder, caplog):
    spoilt, good = folder.content["annotations"][:2], folder.content["annotations"][2:]
    for entry in spoilt:  # two of six have a mask elsewhere
        entry["segmentation"] = [[30, 0, 40, 0, 40, 5]]
    folder.content["annotations"] += [
        {**e, "id": e["id"] + 10, "category_id": e["category_id"] % 3 + 1} for e in good
    ]
    assert read_coco(folder.write()) == folder.content
    (record,) = caplog.records
    assert "(2): annotation 11 (image 1 (1.png)), annotation 12" in record.getMessage()


# name: (what spoils the json, what is said)
FATAL = {
    "image id": (lambda c: c["images"][0].update(id=None), r"image None \(1.png\)"),
    "class": (
        lambda c: c["annotations"][0].update(category_id=9),
        r"annotation 11 \(image 1 \(1.png\)\): category 9; add the category or",
    ),
    "parts of the image": (
        lambda c: [entry.update(bbox=[0.1, 0.2, 0.3, 0.4]) for entry in c["annotations"]],
        r"boxes within 0 to 1.* \(4\): .*multiply them",
    ),
    "text": (lambda c: c["images"][0].update(id="1"), "ids that are text .*id '1' of 'images'"),
}


@pytest.mark.parametrize("name", FATAL)
def test_what_cannot_be_repaired_is_one_sentence(folder, name):
    spoil, words = FATAL[name]
    spoil(folder.content)
    with pytest.raises(UserError, match=rf"^\S+train\.json: .*{words}") as error:
        read_coco(folder.write())
    assert "\n" not in str(error.value)


def test_only_what_is_needed_has_to_be_there_and_right(folder):
    del folder.content["categories"]
    folder.content["annotations"][0]["category_id"] = "ant"
    path = folder.write()
    assert read_coco(path, "images")["images"] == json.loads(Path(path).read_text())["images"]
    with pytest.raises(UserError, match="no list 'categories'"):
        read_coco(path, "images", "categories")
