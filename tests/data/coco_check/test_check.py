import json
import math
import re
from pathlib import Path

import numpy as np
import pycocotools.mask as mask_util
import pytest
from detectron2.data.datasets import load_coco_json
from PIL import Image

from imted.data.coco_check.check import check_dataset
from imted.data.coco_check.findings import DOUBTFUL, REPAIRED
from imted.data.dataset import write_repaired
from imted.data.pixels import inspect_image, read_pixels
from imted.errors import UserError


def check(folder, split="train", masks=False):
    return check_dataset(folder.write(split), str(folder.images), split, masks)


def findings(report):
    return report.findings


def annotation(folder, key):
    return next(entry for entry in folder.content["annotations"] if entry["id"] == key)


def test_a_correct_data_set_is_left_alone(folder, tmp_path):
    report = check(folder, masks=True)
    assert findings(report) == {} and report.fatal == []
    assert write_repaired(report, str(tmp_path / "run")).json_file == str(tmp_path / "train.json")
    assert not (tmp_path / "run").exists()
    text = str(report)
    assert "2 images (0 without annotations), 4 annotations (0 crowd, 4 with a mask)" in text
    counts = dict(re.findall(r"(ant|bee|cat) +\| +(\d)", text))
    assert counts == {"ant": "1", "bee": "1", "cat": "2"}  # ids 12; 13; 11 and 14


# name: (what spoils the folder, kind of finding, what its item says)
FATAL = {
    "category without id": (
        lambda f: f.content["categories"][0].pop("id"), "category_invalid", "category None ('ant')",
    ),
    "category id repeats": (
        lambda f: f.content["categories"][1].update(id=1), "category_repeated",
        "category 1 ('bee')",
    ),
    "category name repeats": (
        lambda f: f.content["categories"][2].update(name="ant"), "category_repeated",
        "category 3 ('ant')",
    ),
    "no categories": (
        lambda f: f.content.update(categories=[]), "no_categories", "train.json",
    ),
    "image id is text": (
        lambda f: f.content["images"][0].update(id="1"), "id_text", "id '1' of 'images'",
    ),
    "image without a file name": (
        lambda f: f.content["images"][1].pop("file_name"), "image_invalid", "image 2 (None)",
    ),
    "image id repeats": (
        lambda f: f.content["images"][1].update(id=1), "image_repeated", "image 1 (2.png)",
    ),
    "file name repeats": (
        lambda f: f.content["images"][1].update(file_name="1.png"), "file_repeated",
        "image 2 (1.png)",
    ),
    "file missing": (
        lambda f: (f.images / "2.png").unlink(), "image_missing", "image 2 (2.png)",
    ),
    "file is no image": (
        lambda f: (f.images / "1.png").write_text("text"), "image_unreadable",
        "image 1 (1.png): not an image",
    ),
    "category unknown": (
        lambda f: annotation(f, 12).update(category_id=9), "category_unknown",
        "annotation 12 (image 1 (1.png)): category 9",
    ),
    "category absent": (
        lambda f: annotation(f, 12).pop("category_id"), "category_unknown",
        "annotation 12 (image 1 (1.png)): category None",
    ),
    "no images": (lambda f: f.content.update(images=[]), "no_images", "train.json"),
    "no annotations": (
        lambda f: f.content.update(annotations=[]), "no_annotations", "train.json",
    ),
    "only crowds": (
        lambda f: [entry.update(iscrowd=1) for entry in f.content["annotations"]],
        "no_annotations", "train.json",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FATAL)
def test_fatal_finding(folder, name):
    spoil, kind, item = FATAL[name]
    spoil(folder)
    report = check(folder)
    assert len(findings(report)[kind]) == 1
    assert item in findings(report)[kind][0]
    assert any(item in sentence and "train.json" in sentence for sentence in report.fatal)
    assert f"({len(findings(report)[kind])}): " in str(report) and item in str(report)


def boxed(folder, key, box):
    """Give an annotation another box, and no mask to take one from."""
    entry = annotation(folder, key)
    entry["bbox"] = box
    del entry["segmentation"]


def rle(height, width):
    """Return a compressed RLE of a mask of several parts."""
    mask = np.zeros((height, width), np.uint8, order="F")
    mask[3:9, 4:30] = mask[12:20, 10:14] = 1
    encoded = mask_util.encode(mask)
    return {**encoded, "counts": encoded["counts"].decode()}


def early(encoded):
    return {**encoded, "counts": encoded["counts"][:-8]}


# name: (what spoils the folder, kind, what its item says, ids of the annotations that are left)
ALL = [11, 12, 13, 14]
REPAIRABLE = {
    "category named by a number": (
        lambda f: f.content["categories"][1].update(name=7), "category_number", "category 2 (7)",
        ALL,
    ),
    "root of the categories": (  # of one class's name, as an export of one class has it
        lambda f: f.content["categories"].extend(
            [{"id": 0, "name": "ant", "supercategory": "none"}]
        )
        or [c.update(supercategory="ant") for c in f.content["categories"][:-1]],
        "category_root", "category 0 ('ant')", ALL,
    ),
    "size absent": (
        lambda f: f.content["images"][0].pop("width"), "image_size_absent", "image 1 (1.png)", ALL,
    ),
    "size wrong": (
        lambda f: f.content["images"][1].update(width=400), "image_size_wrong",
        "image 2 (2.png): 400x30 in the json, 40x30 in the file", ALL,
    ),
    "size as a float": (
        lambda f: f.content["images"][1].update(width=40.0), "image_size_wrong",
        "image 2 (2.png): 40.0x30 in the json, 40x30 in the file", ALL,
    ),
    "image unknown": (
        lambda f: annotation(f, 12).update(image_id=9), "image_unknown", "annotation 12 (image 9)",
        [11, 13, 14],
    ),
    "box of three numbers": (
        lambda f: boxed(f, 11, [1, 2, 3]), "box_invalid",
        "annotation 11 (image 1 (1.png)): [1, 2, 3]", [12, 13, 14],
    ),
    "box not finite": (
        lambda f: boxed(f, 13, [1, 2, math.nan, 3]), "box_invalid",
        "annotation 13 (image 2 (2.png))", [11, 12, 14],
    ),
    "box of text": (
        lambda f: boxed(f, 13, ["1", 2, 3, 3]), "box_invalid",
        "annotation 13 (image 2 (2.png))", [11, 12, 14],
    ),
    "box absent, and no mask to take it from": (
        lambda f: [annotation(f, 13).pop(key) for key in ("bbox", "segmentation")], "box_invalid",
        "annotation 13", [11, 12, 14],
    ),
    "box of no area, which its mask has": (
        lambda f: annotation(f, 13).update(bbox=[1, 2, 0, 3]), "box_absent", "annotation 13", ALL,
    ),
    "an object twice": (
        lambda f: f.content["annotations"].append({**annotation(f, 12), "id": 20}),
        "annotation_duplicate", "annotation 20", ALL,
    ),
    "RLE text that ends early": (
        lambda f: annotation(f, 11).update(segmentation=early(rle(30, 40))), "mask_unusable",
        "annotation 11", ALL,
    ),
    "box absent": (
        lambda f: annotation(f, 13).pop("bbox"), "box_absent", "annotation 13", ALL,
    ),
    "box of no area": (
        lambda f: boxed(f, 14, [1, 2, 0, 3]), "box_empty",
        "annotation 14 (image 2 (2.png))", [11, 12, 13],
    ),
    "box of negative width": (
        lambda f: boxed(f, 14, [9, 2, -5, 3]), "box_empty", "annotation 14",
        [11, 12, 13],
    ),
    "box off the image": (
        lambda f: annotation(f, 14).update(bbox=[50, 2, 5, 3]), "box_off_image", "annotation 14",
        [11, 12, 13],
    ),
    "box outside": (
        lambda f: annotation(f, 14).update(bbox=[30, -5, 20, 10]), "box_outside", "annotation 14",
        ALL,
    ),
    "annotation id repeats": (
        lambda f: annotation(f, 12).update(id=11), "annotation_repeated",
        "annotation 11 (image 1 (1.png))", [11, 13, 14, 15],
    ),
    "annotation id 0": (
        lambda f: annotation(f, 11).update(id=0), "annotation_id", "annotation 0 (image 1",
        [12, 13, 14, 15],
    ),
    "annotation id of another kind": (
        lambda f: annotation(f, 11).update(id=[11]), "annotation_id", "annotation [11] (image 1",
        [12, 13, 14, 15],
    ),
    "mask of another kind": (
        lambda f: annotation(f, 11).update(segmentation=5), "mask_unusable", "annotation 11", ALL,
    ),
    "annotation without id": (
        lambda f: annotation(f, 11).pop("id"), "annotation_id", "annotation None (image 1",
        [12, 13, 14, 15],
    ),
    "ignored": (
        lambda f: annotation(f, 11).update(ignore=1), "annotation_ignored", "annotation 11", ALL,
    ),
    "area absent": (
        lambda f: annotation(f, 11).pop("area"), "annotation_incomplete", "annotation 11", ALL,
    ),
    "area of text": (
        lambda f: annotation(f, 11).update(area="100"), "annotation_incomplete", "annotation 11",
        ALL,
    ),
    "area null": (
        lambda f: annotation(f, 11).update(area=None), "annotation_incomplete", "annotation 11",
        ALL,
    ),
    "iscrowd null": (
        lambda f: annotation(f, 11).update(iscrowd=None), "annotation_incomplete",
        "annotation 11", ALL,
    ),
    "iscrowd of text": (
        lambda f: annotation(f, 11).update(iscrowd="0"), "annotation_incomplete", "annotation 11",
        ALL,
    ),
    "one polygon without area": (
        lambda f: annotation(f, 11)["segmentation"].append([5, 5, 9, 5, 14, 5]), "polygon_odd",
        "annotation 11", ALL,
    ),
    "one odd polygon": (
        lambda f: annotation(f, 11)["segmentation"].append([1, 2, 3, 4]), "polygon_odd",
        "annotation 11", ALL,
    ),
    "RLE of another size": (
        lambda f: annotation(f, 11).update(
            segmentation={"size": [HEIGHT_OF_RLE, 40], "counts": [0, 40 * HEIGHT_OF_RLE]}
        ), "mask_unusable", "annotation 11", ALL,
    ),
    "RLE without counts": (
        lambda f: annotation(f, 11).update(segmentation={"size": [30, 40]}), "mask_unusable",
        "annotation 11", ALL,
    ),
    "empty RLE": (
        lambda f: annotation(f, 11).update(segmentation={"size": [30, 40], "counts": [1200]}),
        "mask_unusable", "annotation 11", ALL,
    ),
    "RLE with too many pixels": (
        lambda f: annotation(f, 11).update(segmentation={"size": [30, 40], "counts": [0, 4000]}),
        "mask_unusable", "annotation 11", ALL,
    ),
    "RLE with too few pixels": (
        lambda f: annotation(f, 11).update(segmentation={"size": [30, 40], "counts": [0, 4]}),
        "mask_unusable", "annotation 11", ALL,
    ),
    "RLE with a negative count": (
        lambda f: annotation(f, 11).update(segmentation={"size": [30, 40], "counts": [-3, 1203]}),
        "mask_unusable", "annotation 11", ALL,
    ),
    "RLE of other text": (
        lambda f: annotation(f, 11).update(segmentation={"size": [30, 40], "counts": "abc~~"}),
        "mask_unusable", "annotation 11", ALL,
    ),
    "polygon outside the image": (
        lambda f: annotation(f, 11).update(segmentation=[[50, 5, 60, 5, 60, 15]]), "mask_unusable",
        "annotation 11", ALL,
    ),
    "polygon of huge numbers": (
        lambda f: annotation(f, 11).update(segmentation=[[10**400, 1, 2, 3, 4, 5]]),
        "mask_unusable", "annotation 11", ALL,
    ),
    "polygon with a point far away": (
        lambda f: annotation(f, 11).update(segmentation=[[5, 5, 1e9, 5, 8, 9]]), "mask_unusable",
        "annotation 11", ALL,
    ),
    "mask of absurd size": (
        lambda f: annotation(f, 11).update(
            segmentation={"size": [10**6, 10**6], "counts": [0, 10**12]}
        ),
        "mask_unusable", "annotation 11", ALL,
    ),
    "polygon of two points": (
        lambda f: annotation(f, 11).update(segmentation=[[1, 2, 3, 4]]), "mask_unusable",
        "annotation 11", ALL,
    ),
    "polygon of odd length": (
        lambda f: annotation(f, 11).update(segmentation=[[1, 2, 3, 4, 5, 6, 7]]), "mask_unusable",
        "annotation 11", ALL,
    ),
}  # fmt: skip
HEIGHT_OF_RLE = 31


@pytest.mark.parametrize("name", REPAIRABLE)
def test_repairable_finding(folder, tmp_path, name):
    spoil, kind, item, left = REPAIRABLE[name]
    spoil(folder)
    report = check(folder)
    assert report.fatal == []
    assert list(findings(report)) == [kind] and len(findings(report)[kind]) == 1
    assert item in findings(report)[kind][0] and item in str(report)

    original = Path(folder.write()).read_text()
    path = write_repaired(report, str(tmp_path / "run")).json_file
    assert path == str(tmp_path / "run/datasets/train.json")
    assert Path(folder.write()).read_text() == original
    again = check_dataset(path, str(folder.images))
    assert findings(again) == {}
    assert sorted(entry["id"] for entry in again.content["annotations"]) == left
    assert sum(len(r["annotations"]) for r in load_coco_json(path, str(folder.images))) == len(left)


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("ignored", "iscrowd", 1),
        ("area absent", "area", 100),
        ("area of text", "area", 100),
        ("area null", "area", 100),
        ("iscrowd null", "iscrowd", 0),
        ("iscrowd of text", "iscrowd", 0),
    ],
)
def test_what_is_missing_is_filled_in(folder, tmp_path, name, field, value):
    assert annotation(folder, 11)["area"] == 100
    REPAIRABLE[name][0](folder)
    path = write_repaired(check(folder), str(tmp_path / "run")).json_file
    (entry,) = [e for e in json.loads(Path(path).read_text())["annotations"] if e["id"] == 11]
    assert entry[field] == value


def test_boxes_are_clipped_and_sizes_taken_from_the_file(folder):
    del folder.content["images"][0]["height"], annotation(folder, 11)["segmentation"]
    annotation(folder, 11).update(bbox=[30, -5, 20, 10])
    annotation(folder, 13).update(bbox=[-0.01, 0, 8, 8])  # COCO's rounding; not worth a repair
    content = check(folder).content
    assert content["images"][0] == {"id": 1, "file_name": "1.png", "width": 40, "height": 30}
    boxes = {entry["id"]: entry["bbox"] for entry in content["annotations"]}
    assert boxes[11] == [30, 0, 10, 5] and boxes[13] == [-0.01, 0, 8, 8]
    assert content["annotations"][0]["area"] == 50


def test_annotations_without_mask_are_dropped_for_mask_models_only(folder):
    del annotation(folder, 11)["segmentation"]
    annotation(folder, 12)["segmentation"] = [[1, 2, 3]]
    boxes = check(folder, masks=False)
    assert list(findings(boxes)) == ["mask_unusable"]
    assert len(boxes.content["annotations"]) == 4
    masks = check(folder, masks=True)
    assert findings(masks)["mask_absent"] == [
        "annotation 11 (image 1 (1.png))",
        "annotation 12 (image 1 (1.png))",
    ]
    assert [entry["id"] for entry in masks.content["annotations"]] == [13, 14]


def test_boxes_alone_are_no_finding(folder):
    for entry in folder.content["annotations"]:
        del entry["segmentation"]
    report = check(folder, masks=True)
    assert findings(report) == {} and not report.has_masks


def test_usable_rle_in_both_forms(folder):
    mask = np.zeros((30, 40), dtype=np.uint8, order="F")
    mask[5:15, 5:15] = 1
    compressed = mask_util.encode(mask)
    compressed["counts"] = compressed["counts"].decode()
    annotation(folder, 11)["segmentation"] = compressed
    annotation(folder, 12)["segmentation"] = {"size": [30, 40], "counts": [100, 50, 1050]}
    assert findings(check(folder, masks=True)) == {}


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_truncated_file_is_unreadable(folder, suffix):
    name = folder.content["images"][0]["file_name"] = f"cut.{suffix}"
    pixels = np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder.images / name)
    whole = (folder.images / name).read_bytes()
    (folder.images / name).write_bytes(whole[: len(whole) * 2 // 3])
    (item,) = findings(check(folder))["image_unreadable"]
    assert f"image 1 (cut.{suffix})" in item
    (folder.images / name).write_bytes(whole + b"\0\0")  # as some cameras pad their files
    assert inspect_image(str(folder.images / name)) == (40, 30, 1, "RGB")


@pytest.mark.parametrize("progressive", [False, True])
def test_a_torn_jpeg_is_unreadable_even_with_its_end_marker(folder, progressive):
    """Decoders fill the rest in silence; a flat corner, as of a letter box, is no such thing."""
    folder.content["images"][0].update(file_name="torn.jpg", width=160, height=120)
    path = folder.images / "torn.jpg"
    pixels = np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)
    for part in (0.3, 0.6, 0.95):
        Image.fromarray(pixels).save(path, progressive=progressive)
        whole = path.read_bytes()
        assert findings(check(folder)) == {}
        path.write_bytes(whole[: int(len(whole) * part)] + b"\xff\xd9")
        (item,) = findings(check(folder))["image_unreadable"]
        assert "image 1 (torn.jpg): " in item
        pixels[-40:] = 7  # what follows has a flat corner


def test_exif_rotation_counts_as_detectron2_reads_it(folder):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 40)).save(folder.images / "turned.jpg", exif=exif)
    folder.content["images"][0].update(file_name="turned.jpg")
    assert findings(check(folder)) == {}
    folder.content["images"][0].update(width=30, height=40)
    assert findings(check(folder))["image_rotated"] == ["image 1 (turned.jpg)"]


def test_five_are_named_and_the_rest_counted(folder):
    for key in range(3, 10):
        folder.content["images"].append(
            {"id": key, "file_name": f"{key}.png", "width": 40, "height": 30}
        )
    line = next(line for line in str(check(folder)).splitlines() if "missing image" in line)
    assert "fatal" in line and "(7)" in line and "and 2 more" in line
    assert re.findall(r"image (\d) \(\1\.png\)", line) == list("34567")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not readable as JSON"),
        ("[]", "results file"),
        ("3", "no list 'images'"),
        ('{"images": []}', "no list 'annotations'"),
        ('{"images": [], "annotations": [], "categories": {}}', "no list 'categories'"),
        ('{"images": [1], "annotations": [], "categories": []}', "'images' holds something"),
    ],
)
def test_file_that_is_no_coco_json(tmp_path, text, words):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(UserError, match=words) as error:
        check_dataset(str(path), str(tmp_path))
    assert str(path) in str(error.value)


def test_missing_json_and_missing_image_root(folder, tmp_path):
    with pytest.raises(UserError, match=r"absent\.json"):
        check_dataset(str(tmp_path / "absent.json"), str(folder.images))
    with pytest.raises(UserError, match=r"nowhere .*train\.json"):
        check_dataset(folder.write(), str(tmp_path / "nowhere"))


def test_lvis_has_no_iscrowd_and_that_is_no_mistake(folder):
    for entry in folder.content["annotations"]:
        del entry["iscrowd"]
    report = check(folder, masks=True)
    assert findings(report) == {}
    written = json.loads(
        Path(write_repaired(report, str(folder.root / "run")).json_file).read_text()
    )
    assert {entry["iscrowd"] for entry in written["annotations"]} == {0}


@pytest.mark.parametrize("mode", ["I;16", "F"])
def test_pixels_of_more_than_a_byte_are_refused(folder, mode):
    suffix = "tif" if mode == "F" else "png"
    name = f"deep.{suffix}"
    Image.fromarray(np.full((30, 40), 300, dtype=np.int32)).convert(mode).save(folder.images / name)
    folder.content["images"][0]["file_name"] = name
    (item,) = findings(check(folder))["image_depth"]
    assert item.startswith(f"image 1 ({name}): Pillow's mode ")


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "CMYK", "LA"])
def test_pixels_of_a_byte_are_read_by_their_meaning(folder, mode):
    name = "image.tif" if mode == "CMYK" else "image.png"
    Image.new("RGB", (40, 30), (255, 255, 255)).convert(mode).save(folder.images / name)
    folder.content["images"][0]["file_name"] = name
    assert findings(check(folder)) == {}
    assert read_pixels(str(folder.images / name), "BGR").min() == 255


@pytest.mark.parametrize("suffix", ["bmp", "tif", "gif", "webp", "ppm", "png", "jpg"])
def test_half_a_file_is_no_image(folder, suffix):
    path = folder.images / f"half.{suffix}"
    noise = np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    folder.content["images"][0]["file_name"] = path.name
    (item,) = findings(check(folder))["image_unreadable"]
    assert item.startswith(f"image 1 ({path.name})")


@pytest.mark.parametrize("orientation", [2, 3, 4])
def test_an_exif_tag_that_keeps_the_size_is_a_warning(folder, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (40, 30)).save(folder.images / "turned.jpg", exif=exif)
    folder.content["images"][0]["file_name"] = "turned.jpg"
    report = check(folder)
    assert list(findings(report)) == ["image_turned"] and not report.fatal
    (line,) = report.sentences(DOUBTFUL)
    assert "(1): image 1 (turned.jpg)" in line and not report.sentences(REPAIRED)


def test_a_size_of_another_scale_is_fatal(folder):
    folder.content["images"][0].update(width=80, height=60)
    (item,) = findings(check(folder))["image_scaled"]
    assert "80x60 in the json, 40x30 in the file" in item


@pytest.mark.parametrize("key", ["name", "file_name"])
def test_half_a_character_is_no_name(folder, key):
    section = "categories" if key == "name" else "images"
    folder.content[section][0][key] = "a\ud800"
    assert set(findings(check(folder))) & {"category_invalid", "image_invalid"}


def test_text_ids_are_one_finding(folder):
    for section, keys in {
        "images": ["id"],
        "annotations": ["id", "image_id", "category_id"],
        "categories": ["id"],
    }.items():
        for entry in folder.content[section]:
            entry.update({key: str(entry[key]) for key in keys})
    assert list(findings(check(folder))) == ["id_text"]


@pytest.mark.parametrize("key", [-1, 2**60, 1.0, True])
def test_image_ids_that_evaluation_cannot_count_with(folder, key):
    folder.content["images"][0]["id"] = key
    assert "image_invalid" in findings(check(folder))


def test_crowds_that_are_too_many_to_be_regions(folder):
    annotation(folder, 11)["iscrowd"] = 1
    assert findings(check(folder)) == {}  # one may be
    annotation(folder, 13)["iscrowd"] = 1
    report = check(folder)
    assert len(findings(report)["crowd_many"]) == 2 and report.fatal == []
    assert len(report.content["annotations"]) == 4


def test_one_mask_among_many_boxes_costs_no_box(folder):
    for key in (11, 12, 13):
        del annotation(folder, key)["segmentation"]
    report = check(folder, masks=True)
    assert findings(report) == {"mask_rare": ["annotation 14 (image 2 (2.png))"]}
    assert len(report.content["annotations"]) == 4 and not report.has_masks
