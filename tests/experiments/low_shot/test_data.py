import json

import pytest

from imted.errors import UserError
from prepare_low_shot import choose_images


@pytest.fixture
def content():
    """200 images with as many annotations as their id modulo 4."""
    images = [{"id": i, "file_name": f"{i}.jpg"} for i in range(1, 201)]
    entries = [
        {"image_id": i["id"], "category_id": 1, "bbox": [n, 0, 4, 4], "area": 16}
        for i in images
        for n in range(i["id"] % 4)
    ]
    entries = [{"id": k, "iscrowd": k % 2, **entry} for k, entry in enumerate(entries, 1)]
    return {"images": images, "annotations": entries, "categories": [{"id": 1, "name": "a"}]}


@pytest.mark.parametrize(
    ("percent", "count"), [(1, 2), (2, 4), (5, 10), (10, 20), (0.1, 1), (0.9, 2)]
)
def test_number_of_images_and_all_of_their_annotations(content, percent, count):
    part = choose_images(content, percent, 0, "train.json")
    assert len(part["images"]) == count
    ids = {image["id"] for image in part["images"]}
    assert part["annotations"] == [a for a in content["annotations"] if a["image_id"] in ids]
    assert part["categories"] == content["categories"]
    assert (part["info"]["seed"], part["info"]["percent"]) == (0, percent)


def test_seeds_differ_and_percentages_of_one_contain_one_another(content):
    def ids(percent, seed):
        return {i["id"] for i in choose_images(content, percent, seed, "train.json")["images"]}

    assert ids(1, 0) < ids(2, 0) < ids(5, 0) < ids(10, 0) < ids(100, 0)
    assert len({frozenset(ids(5, seed)) for seed in range(5)}) == 5
    assert ids(10, 3) == ids(10, 3)
    # Of 40 choices of a tenth, an image is in 4 on average; one in none has a chance of 1.5 %.
    assert len(set().union(*(ids(10, seed) for seed in range(40)))) > 190


def test_a_choice_does_not_depend_on_the_order_in_the_file(content):
    shuffled = {**content, "images": content["images"][::-1]}
    one, two = (choose_images(c, 5, 1, "train.json")["images"] for c in (content, shuffled))
    assert one == two[::-1]


@pytest.mark.parametrize("percent", [0, -1, 101])
def test_errors(content, percent):
    with pytest.raises(UserError, match=f"percentage .*{percent};"):
        choose_images(content, percent, 0, "train.json")
    with pytest.raises(UserError, match=r"train\.json .*images"):
        choose_images({**content, "images": []}, 1, 0, "train.json")


def test_command_line(load_script, content, tmp_path, capsys):
    module = load_script("datasets/prepare_low_shot.py")
    source = tmp_path / "train.json"
    source.write_text(json.dumps(content))
    args = ["--json", str(source), "--output", str(tmp_path / "out"), "--seeds", "0", "1"]
    assert module.main(args) == 0
    files = {f"{p}percent_seed{s}.json" for p in (1, 2, 5, 10) for s in (0, 1)}
    assert {path.name for path in (tmp_path / "out").glob("[!.]*")} == files
    written = json.loads((tmp_path / "out/10percent_seed1.json").read_text())
    assert written == choose_images(content, 10, 1, "train.json")
    capsys.readouterr()
    assert module.main([*args[:1], str(tmp_path / "absent.json"), *args[2:]]) == 1
    assert capsys.readouterr().err.startswith(f"error: {tmp_path}/absent.json")


def test_the_command_writes_where_detectron2_looks(default_output):
    assert default_output("datasets/prepare_low_shot.py", "--json", "a.json") == "coco_low_shot"
