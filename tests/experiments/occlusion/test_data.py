import json
import pickle
import re

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from imted.errors import UserError
from imted.experiments.occlusion import data as occlusion
from imted.experiments.occlusion.data import (
    add_ratios,
    count_large_parts,
    derive_lists,
    estimate_occlusion,
    read_list,
)
from synthetic.dataset import write_split
from synthetic.shapes import ShapesOptions

SIDE = 60


def rectangle(x: int, y: int, width: int, height: int) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), dtype=np.uint8)
    mask[y : y + height, x : x + width] = 1
    return mask


def make_content(*masks: np.ndarray, **more: list) -> dict:
    """A COCO json of one image; `more` has a field's value for each annotation."""
    annotations = []
    for i, mask in enumerate(masks):
        rle = coco_mask.encode(np.asfortranarray(mask))
        annotation = {
            "id": i + 1,
            "image_id": 5,
            "category_id": 2,
            "bbox": coco_mask.toBbox(rle).tolist(),
            "area": int(coco_mask.area(rle)),
            "iscrowd": 0,
            "segmentation": {**rle, "counts": rle["counts"].decode()},
        }
        fields = {key: values[i] for key, values in more.items() if values[i] is not None}
        annotations.append({**annotation, **fields})
    return {
        "images": [{"id": 5, "file_name": "a/b.png", "width": SIDE, "height": SIDE}],
        "annotations": annotations,
        "categories": [{"id": 2, "name": "ant"}],
    }


def ids(lists: dict) -> dict[str, list[int]]:
    return {key: [item.annotation_id for item in items] for key, items in lists.items()}


BAR = rectangle(28, 0, 4, SIDE)
CUT = rectangle(10, 10, 40, 10) & (1 - BAR)  # 40 of 400 pixels hidden, halves of 180
PATCH = rectangle(20, 35, 10, 10)
NOTCHED = rectangle(10, 40, 40, 10) & (1 - PATCH)  # 50 of 400 pixels hidden, in one piece


def test_an_object_that_is_cut_in_two_is_separated_and_a_notched_one_occluded():
    assert estimate_occlusion([CUT, BAR]) == [0.1, 0]
    assert estimate_occlusion([NOTCHED, PATCH]) == [0.125, 0]
    content = make_content(CUT, rectangle(28, 0, 4, 30), NOTCHED, PATCH)
    lists = derive_lists(content, "a.json")
    assert ids(lists) == {"occluded": [3], "separated": [1]}
    item = lists["separated"][0]
    assert (item.file_name, item.category, item.occlusion_ratio) == ("a/b.png", "ant", 0.1)
    assert (coco_mask.decode(item.segmentation) == CUT).all()


def test_ids_that_repeat_do_not_mix_objects_up():
    content = make_content(CUT, BAR)
    for annotation in content["annotations"]:
        annotation["id"] = 1
    ratios = [a["occlusion_ratio"] for a in add_ratios(content, "a.json")[0]["annotations"]]
    assert ratios == [0.1, 0]


def test_what_the_estimate_does_not_see():
    whole = rectangle(10, 10, 40, 10)
    assert estimate_occlusion([whole & (1 - rectangle(40, 0, 20, 40))]) == [0]  # by nobody
    end = rectangle(40, 0, 20, 40)
    assert estimate_occlusion([whole & (1 - end), end]) == [0, 0]  # at its end
    bay = rectangle(10, 10, 40, 40) & (1 - rectangle(20, 10, 20, 30))
    inside = rectangle(25, 20, 10, 10)
    assert estimate_occlusion([bay, inside]) == [100 / 1100, 0]  # nothing hidden in truth


def test_overlapping_borders_hide_nothing():
    # 15 of 400 pixels; and pixels of both masks are visible ones of both.
    speck = rectangle(20, 10, 5, 3)
    assert estimate_occlusion([rectangle(10, 10, 40, 10) & (1 - speck), speck])[0] == 0
    assert estimate_occlusion([rectangle(10, 10, 40, 10), rectangle(20, 10, 10, 10)]) == [0, 0]


def test_a_part_is_large_from_a_twentieth_of_the_mask():
    assert count_large_parts(rectangle(0, 0, 19, 20) | rectangle(30, 30, 4, 5)) == 2
    assert count_large_parts(rectangle(0, 0, 20, 20) | rectangle(30, 30, 4, 5)) == 1
    touching = rectangle(0, 0, 5, 5) | rectangle(5, 5, 5, 5)  # by a corner
    assert count_large_parts(touching) == 1


def test_ratios_that_are_known_stay_and_crowds_hide_nothing():
    content = make_content(CUT, NOTCHED, BAR, occlusion_ratio=[0.7, 0.0, None])
    completed, estimates = add_ratios(content, "a.json")
    assert [a["occlusion_ratio"] for a in completed["annotations"]] == [0.7, 0.0, 0.0]
    assert estimates == 1
    assert "occlusion_ratio" not in content["annotations"][2]
    assert ids(derive_lists(content, "a.json")) == {"occluded": [], "separated": [1]}

    content = make_content(CUT, BAR, iscrowd=[0, 1])
    completed, _ = add_ratios(content, "a.json")
    assert [a.get("occlusion_ratio") for a in completed["annotations"]] == [0, None]
    assert ids(derive_lists(content, "a.json")) == {"occluded": [], "separated": []}


def test_the_shapes_have_exact_lists(tmp_path):
    path = write_split(tmp_path, "val", 12, 3, ShapesOptions(max_objects=5))
    content = json.loads(path.read_text())
    lists = ids(derive_lists(content, str(path)))
    objects = [a for a in content["annotations"] if not a["iscrowd"]]
    hidden = {a["id"] for a in objects if a["occlusion_ratio"] > 0}
    assert set(lists["occluded"] + lists["separated"]) == hidden
    assert len(lists["occluded"]) + len(lists["separated"]) == len(hidden)
    whole = {a["id"] for a in objects if a["visible_parts"] == 1}
    assert lists["separated"] and not whole & set(lists["separated"])


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("segmentation", None, "segmentation"),
        ("occlusion_ratio", 12.5, "occlusion_ratio 12.5"),
        ("occlusion_ratio", "NAN", "occlusion_ratio 'NAN'"),
    ],
)
def test_errors_in_the_json_are_named(field, value, message):
    content = make_content(CUT)
    content["annotations"][0][field] = value
    with pytest.raises(UserError, match=rf"a\.json.*annotation 1 .*{message}"):
        derive_lists(content, "a.json")


@pytest.fixture
def prepare(load_script):
    """Run the command line and return its exit status."""
    module = load_script("datasets/prepare_occlusion.py")
    return lambda *args: module.main(list(map(str, args)))


def test_the_command_derives_lists_and_ratios(prepare, tmp_path, capsys):
    source = tmp_path / "truth.json"
    source.write_text(json.dumps(make_content(CUT, BAR)))
    assert prepare("derive", "--json", source, "--output", tmp_path / "new/lists") == 0
    printed = capsys.readouterr().out
    assert re.search(r"separated\.json: 1 ", printed)
    assert re.search(r"annotations\.json: 2 .*estimates", printed)
    lists = {name: read_list(str(tmp_path / f"new/lists/{name}.json")) for name in occlusion.LISTS}
    assert lists == derive_lists(json.loads(source.read_text()), "truth.json")
    derived = json.loads((tmp_path / "new/lists/annotations.json").read_text())
    assert [a["occlusion_ratio"] for a in derived["annotations"]] == [0.1, 0.0]


def test_the_command_converts_the_published_lists(prepare, tmp_path, capsys):
    rle = coco_mask.encode(np.asfortranarray(CUT))
    items = [["1.jpg", "tv", 4, [0, 0, 1, 1], rle, 0.25], ["2.jpg", "car", 9, [], rle, "NAN"]]
    for name, content in zip(occlusion.LISTS, (items, items[:1]), strict=True):
        (tmp_path / f"{name}_coco.pkl").write_bytes(pickle.dumps(content))
    paths = [f"--{name}={tmp_path}/{name}_coco.pkl" for name in occlusion.LISTS]
    assert prepare("published", *paths, "--output", tmp_path) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert re.search(r"occluded\.json: 2 .* 1 .*unknown", first)
    assert "separated.json: 1 " in second and "unknown" not in second
    lists = [read_list(str(tmp_path / f"{name}.json")) for name in occlusion.LISTS]
    assert [(i.file_name, i.category, i.annotation_id, i.occlusion_ratio) for i in lists[0]] == [
        ("1.jpg", "tv", 4, 0.25),
        ("2.jpg", "car", 9, None),
    ]
    assert lists[1] == lists[0][:1]
    assert (coco_mask.decode(lists[0][1].segmentation) == CUT).all()


def test_an_image_without_its_size_is_named():
    content = make_content(CUT, BAR)
    del content["images"][0]["height"]
    with pytest.raises(UserError, match=r"a\.json.*image 5 .*height"):
        add_ratios(content, "a.json")


def text_of(**changes) -> str:
    """A json whose first annotation is changed."""
    content = make_content(CUT, BAR)
    content["annotations"][0].update(changes)
    return json.dumps(content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such"),
        ("[]", "results file"),
        ('{"images": []}', "no list 'annotations'"),
        ('{"images": [{"id": 1}], "annotations": [], "categories": []}', "image 1 (None)"),
        (text_of(category_id=7), "annotation 1 (image 5 (a/b.png)): category 7"),
        (text_of(segmentation=[[5, 5]]), "annotation 1 has no segmentation"),
        (text_of(segmentation=[1, 2, 3, 4, 5, 6]), "annotation 1 has no segmentation"),
        (text_of(segmentation={"size": [9, 9], "counts": [0, 81]}), "annotation 1 is of another"),
    ],
)
def test_the_command_names_errors_in_one_line(prepare, tmp_path, capsys, content, message):
    source = tmp_path / "truth.json"
    if content is not None:
        source.write_text(content)
    assert prepare("derive", "--json", source, "--output", tmp_path / "lists") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {source}") and message in line
    assert not (tmp_path / "lists").exists()


def test_the_command_writes_where_detectron2_looks(default_output):
    script = "datasets/prepare_occlusion.py"
    assert default_output(script, "derive", "--json", "a.json") == "occlusion"
    pickles = ("--occluded", "a.pkl", "--separated", "b.pkl")
    assert default_output(script, "published", *pickles) == "occluded_coco"
