import json
from collections import Counter

import pytest
from detectron2.data.datasets.builtin_meta import COCO_CATEGORIES

from imted.data import read_coco
from imted.errors import UserError
from imted.experiments.few_shot import COCO_NOVEL
from prepare_few_shot import base_part, choose_shots, read_fsdet_shots

NAMES = {7: "disc", 2: "ring", 9: "star"}  # not in the order of the ids


def make_content(counts: dict[int, dict[int, int]], crowds: dict[int, int] | None = None) -> dict:
    """Make a data set: counts[image][category] instances, and crowds[image] of category 2."""
    entries = [
        {"image_id": i, "category_id": c, "iscrowd": 0, "bbox": [1 + n, 1, 9, 9], "area": 81}
        for i, by_category in counts.items()
        for c, number in by_category.items()
        for n in range(number)
    ]
    entries += [
        {"image_id": i, "category_id": 2, "iscrowd": 1, "bbox": [n, 0, 20, 20], "area": 400}
        for i, number in (crowds or {}).items()
        for n in range(number)
    ]
    return {
        "images": [
            {"id": i, "file_name": f"{i}.jpg", "width": 32, "height": 32} for i in reversed(counts)
        ],
        "annotations": [{"id": k, **entry} for k, entry in enumerate(entries, 100)],
        "categories": [{"id": key, "name": name} for key, name in NAMES.items()],
    }


@pytest.fixture
def content():
    """Many images of one to three instances of each class, some with crowds."""
    counts = {i: {c: 1 + (i + c) % 3 for c in NAMES if (i * c) % 4} for i in range(1, 60)}
    return make_content(counts, crowds={i: 2 for i in range(1, 60, 2)})


def number_of_instances(content: dict) -> dict[int, int]:
    return Counter(entry["category_id"] for entry in content["annotations"])


@pytest.mark.parametrize("seed", [0, 1, 9])
@pytest.mark.parametrize("shots", [1, 2, 3, 5, 10, 30])
def test_exactly_k_instances_of_each_class_and_no_crowd(content, shots, seed):
    chosen = choose_shots(content, shots, seed, "train.json")
    assert number_of_instances(chosen) == dict.fromkeys(NAMES, shots)
    assert all(entry in content["annotations"] for entry in chosen["annotations"])
    assert not any(entry["iscrowd"] for entry in chosen["annotations"])
    assert len({entry["id"] for entry in chosen["annotations"]}) == 3 * shots
    used = {entry["image_id"] for entry in chosen["annotations"]}
    assert [image["id"] for image in chosen["images"]] == sorted(used, reverse=True)
    assert chosen["categories"] == content["categories"]
    assert (chosen["info"]["seed"], chosen["info"]["shots"]) == (seed, shots)


def test_the_seed_alone_decides(content):
    first = choose_shots(content, 3, 4, "train.json")
    assert choose_shots(content, 3, 4, "train.json") == first
    other = {**content, "annotations": content["annotations"][::-1]}
    other = choose_shots(other, 3, 4, "train.json")
    key = "image_id", "category_id"
    chosen = [sorted(tuple(e[k] for k in key) for e in c["annotations"]) for c in (first, other)]
    assert chosen[0] == chosen[1]  # of one image's, all or none are taken here
    seeds = [choose_shots(content, 3, seed, "train.json")["annotations"] for seed in range(5)]
    assert all(a != b for i, a in enumerate(seeds) for b in seeds[:i])


def test_a_box_without_area_is_no_instance(tmp_path):
    content = make_content({i: dict.fromkeys(NAMES, 1) for i in range(1, 5)})
    content["annotations"][0]["bbox"] = [1, 1, 0, 9]
    (tmp_path / "train.json").write_text(json.dumps(content))
    content = read_coco(str(tmp_path / "train.json"))
    assert len(content["annotations"]) == 4 * len(NAMES) - 1
    for seed in range(9):
        chosen = choose_shots(content, 3, seed, "train.json")
        assert number_of_instances(chosen) == dict.fromkeys(NAMES, 3)
    with pytest.raises(UserError, match=r"train\.json .*\b3 instances.*\b4 shots"):
        choose_shots(content, 4, 0, "train.json")


def test_every_instance_is_chosen_by_some_seed():
    content = make_content({i: dict.fromkeys(NAMES, 1) for i in range(1, 5)})
    found = {
        entry["id"]
        for seed in range(40)
        for entry in choose_shots(content, 1, seed, "train.json")["annotations"]
    }
    assert found == {entry["id"] for entry in content["annotations"]}


def test_an_image_gives_all_of_its_instances_unless_nothing_else_is_left():
    counts = {1: {2: 3, 7: 1, 9: 1}, 2: {2: 1, 7: 1, 9: 1}, 3: {2: 1, 7: 1, 9: 1}}
    by_image = {2: {}, 4: {}}
    for shots, found in by_image.items():
        content = make_content({**counts, 4: {7: 3, 9: 3}})
        for seed in range(10):
            chosen = choose_shots(content, shots, seed, "train.json")["annotations"]
            rings = Counter(entry["image_id"] for entry in chosen if entry["category_id"] == 2)
            found[tuple(sorted(rings.items()))] = True
    assert set(by_image[2]) == {((2, 1), (3, 1))}  # the three of image 1 don't fit
    assert set(by_image[4]) == {((1, 3), (2, 1)), ((1, 3), (3, 1)), ((1, 2), (2, 1), (3, 1))}


def test_too_few_instances_and_other_errors(content):
    with pytest.raises(UserError, match=r"train\.json .*\b2 .*'ring'.*\b3 shots"):
        choose_shots(make_content({1: {2: 2, 7: 3, 9: 3}}, crowds={1: 5}), 3, 0, "train.json")
    with pytest.raises(UserError, match="shots is 0"):
        choose_shots(content, 0, 0, "train.json")
    with pytest.raises(UserError, match=r"'person' .*train\.json .*--novel"):
        base_part(content, COCO_NOVEL, "train.json")
    with pytest.raises(UserError, match=r"train\.json .*--novel"):
        base_part(content, list(NAMES.values()), "train.json")


def test_base_part_knows_nothing_of_the_novel_classes():
    content = make_content({1: {2: 1, 7: 2}, 2: {2: 3}, 3: {9: 1}, 4: {}}, crowds={3: 1})
    base = base_part(content, ["ring"], "train.json")
    assert base["categories"] == [{"id": 7, "name": "disc"}, {"id": 9, "name": "star"}]
    assert number_of_instances(base) == {7: 2, 9: 1}
    assert [image["id"] for image in base["images"]] == [3, 1]
    val = base_part(content, ["ring"], "val.json", all_images=True)
    assert [image["id"] for image in val["images"]] == [4, 3, 2, 1]
    assert val["annotations"] == base["annotations"]


def test_coco_has_twenty_novel_classes_of_which_voc_knows():
    ids = [*range(1, 8), 9, *range(16, 22), 44, 62, 63, 64, 67, 72]  # in COCO's json
    names = [category["name"] for category in COCO_CATEGORIES if category["id"] in ids]
    assert list(COCO_NOVEL) == names and len(names) == 20


@pytest.fixture
def cocosplit(content, tmp_path):
    """Write FsDet's folder: the instances of seed s and K are the first of each class after s."""
    folder = tmp_path / "cocosplit"
    (folder / "datasplit").mkdir(parents=True)
    for name in ("trainvalno5k", "5k"):
        (folder / f"datasplit/{name}.json").write_text(json.dumps(content))
    plain = [entry for entry in content["annotations"] if not entry["iscrowd"]]
    for seed in (0, 3):
        place = folder / f"seed{seed}" if seed else folder
        place.mkdir(exist_ok=True)
        for key, name in NAMES.items():
            chosen = [entry for entry in plain if entry["category_id"] == key][seed : seed + 2]
            part = {**content, "annotations": chosen}
            (place / f"full_box_2shot_{name}_trainval.json").write_text(json.dumps(part))
    return folder


@pytest.mark.parametrize("seed", [0, 3])
def test_fsdet_files_are_joined(cocosplit, content, seed):
    joined = read_fsdet_shots(cocosplit, content, 2, seed)
    assert number_of_instances(joined) == dict.fromkeys(NAMES, 2)
    plain = [entry for entry in content["annotations"] if not entry["iscrowd"]]
    for key in NAMES:
        expected = [entry for entry in plain if entry["category_id"] == key][seed : seed + 2]
        assert [e for e in joined["annotations"] if e["category_id"] == key] == expected


def test_crowds_in_fsdet_files_are_no_instances(cocosplit, content):
    path = cocosplit / "full_box_2shot_ring_trainval.json"
    part = json.loads(path.read_text())
    crowd = next(entry for entry in content["annotations"] if entry["iscrowd"])
    path.write_text(json.dumps({**part, "annotations": [crowd, *part["annotations"]]}))
    joined = read_fsdet_shots(cocosplit, content, 2, 0)
    assert number_of_instances(joined) == dict.fromkeys(NAMES, 2)
    assert crowd not in joined["annotations"]


def test_fsdet_file_that_is_missing_or_short(cocosplit, content):
    path = cocosplit / "full_box_2shot_star_trainval.json"
    part = json.loads(path.read_text())
    path.write_text(json.dumps({**part, "annotations": part["annotations"][:1]}))
    with pytest.raises(UserError, match=r"full_box_2shot_star_trainval\.json .*\b1 .*'star'"):
        read_fsdet_shots(cocosplit, content, 2, 0)
    path.unlink()
    with pytest.raises(UserError, match=r"full_box_2shot_star_trainval\.json.*no such"):
        read_fsdet_shots(cocosplit, content, 2, 0)


@pytest.fixture
def prepare(load_script):
    module = load_script("datasets/prepare_few_shot.py")
    return lambda *args: module.main(list(map(str, args)))


def test_command_line(prepare, cocosplit, content, tmp_path, capsys):
    source = tmp_path / "train.json"
    source.write_text(json.dumps(content))
    own = ("--json", source, "--val-json", source, "--seeds", 0, 3)
    common = ("--novel", "ring", "--shots", 2)
    assert prepare(*own, *common, "--output", tmp_path / "a") == 0
    assert prepare(*own, *common, "--output", tmp_path / "b") == 0
    fsdet = ("--fsdet", cocosplit, "--seeds", 0, 3)
    assert prepare(*fsdet, *common, "--output", tmp_path / "c") == 0
    names = {"base_train.json", "base_val.json", "2shot_seed0.json", "2shot_seed3.json"}
    for folder in "abc":
        assert {path.name for path in (tmp_path / folder).glob("[!.]*")} == names
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    base = base_part(content, ["ring"], "")
    for name, images in (("train", base["images"]), ("val", content["images"])):
        written = json.loads((tmp_path / f"c/base_{name}.json").read_text())
        assert written["annotations"] == base["annotations"] and written["images"] == images
    capsys.readouterr()
    for wrong in ([], [*own, *fsdet]):
        assert prepare(*wrong, *common, "--output", tmp_path / "d") == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ") and "--json" in line and "--fsdet" in line
    assert not (tmp_path / "d").exists()


def test_the_command_writes_where_detectron2_looks(default_output):
    assert default_output("datasets/prepare_few_shot.py", "--json", "a.json") == "coco_few_shot"
