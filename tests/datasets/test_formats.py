"""Conversion to COCO json, against Detectron2's own loader, hand-made boxes and drawn masks."""

import base64
import io
import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from detectron2.data.datasets.pascal_voc import load_voc_instances
from PIL import Image
from pycocotools import mask as coco_mask

from formats import read_labelme, read_voc, read_yolo, split_dataset
from imted.data.coco_check.check import check_dataset
from imted.errors import UserError

SIZE = (60, 40)  # width, height


def draw(path, size=SIZE, orientation=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", size, (90, 120, 30))
    exif = image.getexif()
    if orientation:
        exif[0x0112] = orientation
    image.save(path, exif=exif)


def boxes(content):
    return [entry["bbox"] for entry in content["annotations"]]


@pytest.fixture
def yolo(tmp_path):
    for name in ("a", "b", "c"):
        draw(tmp_path / "train" / "images" / f"{name}.jpg")
    draw(tmp_path / "val" / "images" / "turned.jpg", orientation=6)  # shown as 40 x 60
    labels = tmp_path / "train" / "labels"
    labels.mkdir()
    (labels / "a.txt").write_text("1 0.5 0.5 0.2 0.5\n0 0.1 0.1 0.5 0.1 0.5 0.6\n\n")
    (labels / "b.txt").write_text("")  # seen, and empty; c has no file
    (tmp_path / "val" / "labels").mkdir()
    (tmp_path / "val" / "labels" / "turned.txt").write_text("0 0.25 0.5 0.5 1.0\n")
    (tmp_path / "data.yaml").write_text(
        "train: ../train/images\nval: val/images\nnames: {0: cat, 1: dog}\n"
    )
    return tmp_path / "data.yaml"


def test_yolo_boxes_polygons_and_negatives(yolo):
    found = read_yolo(str(yolo))
    content = found["train"].content("")
    assert [image["file_name"] for image in content["images"]] == ["a.jpg", "b.jpg", "c.jpg"]
    assert [category["name"] for category in content["categories"]] == ["cat", "dog"]
    dog, cat = content["annotations"]
    assert (dog["category_id"], cat["category_id"]) == (2, 1)
    np.testing.assert_allclose(dog["bbox"], [24, 10, 12, 20])  # 0.2 * 60, 0.5 * 40
    np.testing.assert_allclose(cat["bbox"], [6, 4, 24, 20])
    np.testing.assert_allclose(cat["segmentation"], [[6, 4, 30, 4, 30, 24]])
    assert "segmentation" not in dog
    assert abs(cat["area"] - 24 * 20 / 2) < 20  # a triangle, drawn in pixels


def test_yolo_fractions_are_of_the_image_as_it_is_shown(yolo):
    content = read_yolo(str(yolo))["val"].content("")
    assert (content["images"][0]["width"], content["images"][0]["height"]) == (40, 60)
    np.testing.assert_allclose(boxes(content), [[0, 0, 20, 60]])


def test_labels_are_beside_links_to_images(yolo, tmp_path):
    images = yolo.parent / "train" / "images"
    images.rename(tmp_path / "elsewhere")
    images.mkdir()
    for path in (tmp_path / "elsewhere").iterdir():
        (images / path.name).symlink_to(path)
    assert len(read_yolo(str(yolo))["train"].content("")["annotations"]) == 2


def test_a_split_without_any_label_file_is_named(yolo):
    (yolo.parent / "train" / "labels").rename(yolo.parent / "train" / "annotations")
    with pytest.raises(UserError, match=r"None of 3 images has a label file.*labels/a\.txt"):
        read_yolo(str(yolo))


def test_yolo_lists_of_files(yolo):
    (yolo.parent / "some.txt").write_text("./train/images/a.jpg\n./train/images/b.jpg\n")
    yolo.write_text("train: [some.txt, val/images]\nnames: [cat, dog]\n")
    content = read_yolo(str(yolo))["train"].content("")
    names = [image["file_name"] for image in content["images"]]
    assert names == ["train/images/a.jpg", "train/images/b.jpg", "val/images/turned.jpg"]
    assert len(content["annotations"]) == 3


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2 0.5 0.5 0.1 0.1", r"a\.txt, line 1: class 2 isn't one of the 2"),
        ("0 0.5 0.5 0.1", "has 3 numbers after the class"),
        ("0 30 20 10 10", "isn't from 0 to 1"),
        ("0 0.5 0.5 nan 0.1", "isn't from 0 to 1"),
        ("cat 0.5 0.5 0.1 0.1", "what is no number"),
    ],
)
def test_faults_of_yolo_labels_are_named(yolo, line, message):
    (yolo.parent / "train" / "labels" / "a.txt").write_text(line)
    with pytest.raises(UserError, match=message):
        read_yolo(str(yolo))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: gone\nnames: [cat]", "gone doesn't exist"),
        ("train: train/images", "has no 'names'"),
        ("names: [cat, dog]", "names none of train, val, test"),
        ("train: train/images\nnames: [cat, cat]", "a name twice"),
        ("train: train/images\nnames: [[cat], dog]", "what is no text in 'names'"),
        ("train: [[train/images]]\nnames: [cat]", "'train' is no path or list of paths"),
        ("- a", "no data.yaml"),
        ("a: [", "no YAML"),
    ],
)
def test_faults_of_a_data_yaml_are_named(yolo, text, message):
    yolo.write_text(text)
    with pytest.raises(UserError, match=message):
        read_yolo(str(yolo))


def write_voc(root, name, objects, size=SIZE):
    draw(root / "JPEGImages" / f"{name}.jpg", size)
    body = "".join(
        f"<object><name>{kind}</name><difficult>{hard}</difficult><bndbox><xmin>{x0}</xmin>"
        f"<ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox>"
        "<part><name>head</name></part></object>"
        for kind, hard, x0, y0, x1, y1 in objects
    )
    path = root / "Annotations" / f"{name}.xml"
    path.parent.mkdir(exist_ok=True)
    size_xml = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>"
    path.write_text(f"<annotation><filename>{name}.jpg</filename>{size_xml}{body}</annotation>")


@pytest.fixture
def voc(tmp_path):
    write_voc(tmp_path, "000001", [("dog", 0, 1, 1, 60, 40), ("cat", 1, 5, 6, 7, 9)])
    write_voc(tmp_path, "000002", [])
    write_voc(tmp_path, "000003", [("cat", 0, 2, 2, 30, 30)])
    lists = tmp_path / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("000001\n000002\n")
    (lists / "val.txt").write_text("000003\n")
    (lists / "cat_train.txt").write_text("000001  1\n000002 -1\n")  # of one class
    return tmp_path


def test_voc_boxes_are_those_of_detectron2(voc):
    found = read_voc(str(voc))
    assert set(found) == {"train", "val"}
    content = found["train"].content("")
    assert [category["name"] for category in content["categories"]] == ["cat", "dog"]
    expected = load_voc_instances(str(voc), "train", ["cat", "dog"])
    for image, entry in zip(content["images"], expected, strict=True):
        own = [a for a in content["annotations"] if a["image_id"] == image["id"]]
        assert len(own) == len(entry["annotations"])
        for ours, theirs in zip(own, entry["annotations"], strict=True):
            x, y, w, h = ours["bbox"]
            assert [x, y, x + w, y + h] == theirs["bbox"]
            assert ours["category_id"] - 1 == theirs["category_id"]
    assert [entry.get("difficult", 0) for entry in content["annotations"]] == [0, 1]


def test_corners_from_zero_are_asked_for(voc):
    write_voc(voc, "000003", [("cat", 0, 0, 0, 60, 40)])
    with pytest.raises(UserError, match=r"000003\.xml: a corner is 0.*--first-pixel 0"):
        read_voc(str(voc))
    content = read_voc(str(voc), first_pixel=0)["val"].content("")
    assert boxes(content) == [[0, 0, 60, 40]]


@pytest.mark.parametrize(("annotations", "images"), [("annotations", "images"), (".", ".")])
def test_folders_that_other_tools_name_otherwise(voc, tmp_path, annotations, images):
    expected = read_voc(str(voc))["val"].content("")
    other = tmp_path / "other"
    for folder, old in ((annotations, "Annotations"), (images, "JPEGImages")):
        (other / folder).mkdir(parents=True, exist_ok=True)
        for path in (voc / old).iterdir():
            path.rename(other / folder / path.name)
    found = read_voc(str(other))
    assert set(found) == {"all"} and found["all"].root == other / images
    content = found["all"].content("")
    assert [image["file_name"] for image in content["images"]] == [
        f"00000{n}.jpg" for n in (1, 2, 3)
    ]
    last = [
        a["bbox"] for a in content["annotations"] if a["image_id"] == content["images"][2]["id"]
    ]
    assert last == [a["bbox"] for a in expected["annotations"]]


def test_a_folder_without_xml_is_named(tmp_path):
    with pytest.raises(UserError, match=r"holds no \.xml; give the folder"):
        read_voc(str(tmp_path))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("<name>dog</name>", "", "has no <name>"),
        ("<xmin>1</xmin>", "<xmin>one</xmin>", "a corner is no number"),
        ("<xmin>1</xmin>", "<xmin>nan</xmin>", "a corner is not finite"),
        ("</annotation>", "", "can't be read as XML"),
    ],
)
def test_faults_of_voc_are_named(voc, old, new, message):
    path = voc / "Annotations" / "000001.xml"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(UserError, match=message):
        read_voc(str(voc))


def test_corners_in_another_order_are_the_same_box(voc):
    expected = read_voc(str(voc))["train"].content("")
    path = voc / "Annotations" / "000001.xml"
    text = path.read_text()
    for one, other in (("<xmin>1<", "<xmin>60<"), ("<xmax>60<", "<xmax>1<")):
        assert one in text
        text = text.replace(one, other)
    path.write_text(text)
    assert read_voc(str(voc))["train"].content("") == expected


@pytest.mark.parametrize("suffix", ["gif", "jfif", "JPE"])
def test_images_of_every_format_that_is_read_are_found(yolo, suffix):
    before = read_yolo(str(yolo))["train"].content("")["annotations"]
    images = [path for path in yolo.parent.rglob("*") if path.suffix in (".png", ".jpg")]
    for path in images:
        kind = "GIF" if suffix == "gif" else "JPEG"
        Image.open(path).convert("RGB").save(path.with_suffix(f".{suffix}"), kind)
        path.unlink()
    content = read_yolo(str(yolo))["train"].content("")
    assert content["annotations"] == before
    assert all(image["file_name"].endswith(suffix) for image in content["images"])


def write_labelme(root, shapes, name="a", size=SIZE):
    draw(root / f"{name}.png", size)
    content = {"version": "5.5.0", "imagePath": f"{name}.png", "shapes": shapes}
    (root / f"{name}.json").write_text(json.dumps(content))


def shape(label, points, kind="polygon", **more):
    return {"label": label, "points": points, "shape_type": kind, **more}


def test_labelme_shapes(tmp_path):
    small = np.zeros((6, 5), np.uint8)
    small[1:4, 2:5] = 1
    buffer = io.BytesIO()
    Image.fromarray(small * 255).save(buffer, "PNG")
    encoded = base64.b64encode(buffer.getvalue()).decode()
    write_labelme(
        tmp_path,
        [
            shape("cell", [[1, 2], [11, 2], [11, 8]]),
            shape("box", [[30, 20], [10, 5]], "rectangle"),  # drawn from its last corner
            shape("disc", [[30, 20], [30, 30]], "circle"),
            shape("cell", [[20, 30], [24, 30], [24, 34]], group_id=1),
            shape("cell", [[30, 30], [34, 30], [34, 34]], group_id=1),
            shape("disc", [[4, 5], [8, 10]], "mask", mask=encoded),
            shape("cell", [[3, 3]], "point"),
            shape("box", [[40, 7], [46, 7], [46, 10], [40, 10]], "rectangle"),  # X-AnyLabeling's
            shape("cell", [[50, 20], [53, 23], [50, 26], [47, 23]], "rotation"),
        ],
    )
    builder = read_labelme(str(tmp_path))
    content = builder.content("")
    assert [category["name"] for category in content["categories"]] == ["box", "cell", "disc"]
    assert builder.left_out == {"point of 1 point": 1}
    by_box = {tuple(entry["bbox"]): entry for entry in content["annotations"]}
    assert set(by_box) >= {(10, 5, 20, 15), (1, 2, 10, 6), (20, 30, 14, 4), (6, 6, 3, 3)}
    assert "segmentation" not in by_box[40, 7, 6, 3]
    assert by_box[47, 20, 6, 6]["segmentation"] == [[50, 20, 53, 23, 50, 26, 47, 23]]
    assert len(by_box[20, 30, 14, 4]["segmentation"]) == 2
    drawn = coco_mask.decode(by_box[6, 6, 3, 3]["segmentation"])
    assert drawn.sum() == 9 and drawn[6:9, 6:9].all()
    disc = next(e for e in content["annotations"] if 300 < e["area"] < 330)  # pi * 10²
    np.testing.assert_allclose(disc["bbox"], [20, 10, 20, 20], atol=1e-6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "is no json of LabelMe's"),
        ("[" * 100000, "is no json of LabelMe's"),
        ('{"imagePath": "gone.png", "shapes": [{"label": "a", "points": []}]}', "gone.png can't"),
    ],
)
def test_faults_of_labelme_are_named(tmp_path, text, message):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UserError, match=message):
        read_labelme(str(tmp_path))


def coco(counts):
    """Return a data set whose images have these classes."""
    entries = [(image, kind) for image, kinds in enumerate(counts, 1) for kind in kinds]
    return {
        "images": [
            {"id": i, "file_name": f"{i}.jpg", "width": 9, "height": 9}
            for i in range(1, len(counts) + 1)
        ],
        "annotations": [
            {"id": i, "image_id": image, "category_id": kind, "bbox": [0, 0, 5, 5]}
            for i, (image, kind) in enumerate(entries, 1)
        ],
        "categories": [{"id": i, "name": str(i)} for i in (1, 2, 3)],
    }


def test_a_split_keeps_all_and_the_proportions():
    generator = np.random.default_rng(0)
    kinds = [[1] * int(generator.integers(4)) for _ in range(160)]
    for image in generator.choice(160, 40, replace=False):
        kinds[image].append(2)
    for image in generator.choice(160, 10, replace=False):
        kinds[image].append(3)
    content = coco(kinds)
    train, val = split_dataset(content, 0.2, 0, "a.json")
    ids = [{image["id"] for image in part["images"]} for part in (train, val)]
    assert not ids[0] & ids[1] and len(ids[0] | ids[1]) == 160
    assert abs(len(ids[1]) - 32) <= 3
    totals = Counter(entry["category_id"] for entry in content["annotations"])
    found = Counter(entry["category_id"] for entry in val["annotations"])
    assert found[3] == 2 and found[2] == 8
    assert abs(found[1] - totals[1] / 5) < 5
    assert all(entry["image_id"] in ids[1] for entry in val["annotations"])
    assert split_dataset(content, 0.2, 0, "a.json") == (train, val)
    assert split_dataset(content, 0.2, 1, "a.json") != (train, val)


def test_a_point_far_away_and_a_file_that_never_ends_are_named(tmp_path, voc):
    (tmp_path / "far").mkdir()
    write_labelme(tmp_path / "far", [shape("cat", [(5, 5), (1e9, 5), (9, 9)])])
    with pytest.raises(UserError, match=r"a\.json: a point of a 'cat' is far from the image"):
        read_labelme(str(tmp_path / "far"))
    for path in (voc / "Annotations/000001.xml", voc / "ImageSets/Main/train.txt"):
        path.unlink()
        os.mkfifo(path)
        with pytest.raises(UserError, match=f"{path.name} is no regular file"):
            read_voc(str(voc))
        path.unlink()
        write_voc(voc, "000001", [])


@pytest.mark.parametrize("fraction", [0.01, 0.5, 0.99])
def test_no_part_of_a_split_is_empty(fraction):
    train, val = split_dataset(coco([[1], [1], []]), fraction, 0, "a.json")
    assert train["images"] and val["images"]
    assert len(train["images"]) + len(val["images"]) == 3


@pytest.mark.parametrize(
    ("counts", "fraction", "message"), [([[1]], 0.5, "2 or more"), ([[1]] * 4, 1.0, "below 1")]
)
def test_impossible_splits_are_named(counts, fraction, message):
    with pytest.raises(UserError, match=message):
        split_dataset(coco(counts), fraction, 0, "a.json")


@pytest.mark.parametrize("kind", ["yolo", "voc", "labelme", "coco_split"])
def test_the_command_writes_what_the_check_accepts(kind, tmp_path, yolo, load_script, capsys):
    source = tmp_path / kind
    if kind == "yolo":
        source = yolo
    elif kind == "voc":
        write_voc(source, "1", [("dog", 0, 1, 1, 30, 20)])
    else:
        source.mkdir()
        write_labelme(source, [shape("cell", [[1, 2], [11, 2], [11, 8]])])
        write_labelme(source, [shape("cell", [[1, 2], [11, 2], [11, 8]])], name="b")
    command = load_script("datasets/prepare_coco_json.py")
    if kind == "coco_split":
        assert command.main(["labelme", str(source), "--output", str(tmp_path)]) == 0
        source = tmp_path / "all.json"
    output = tmp_path / "coco"
    assert command.main([kind, str(source), "--output", str(output)]) == 0
    out = capsys.readouterr().out
    for path in output.glob("*.json"):
        root = next(
            (line.split(" in ")[1] for line in out.splitlines() if line.startswith("  images")),
            str(tmp_path / "labelme"),
        )
        if kind == "yolo":
            root = str(tmp_path / path.stem / "images")
        findings = check_dataset(str(path), root).findings
        assert set(findings) <= {"image_turned"}, findings
        assert str(path) in out
    assert command.main([kind, str(Path(tmp_path, "gone")), "--output", str(output)]) == 1
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("kind", ["yolo", "voc", "labelme"])
def test_the_command_may_be_given_again(kind, tmp_path, yolo, load_script):
    """Its output lies in what it reads, as in the examples of its help."""
    source = tmp_path / kind
    source.mkdir(exist_ok=True)
    if kind == "voc":
        write_voc(source, "1", [("dog", 0, 1, 1, 30, 20)])
    elif kind == "labelme":
        write_labelme(source, [shape("cell", [[1, 2], [11, 2], [11, 8]])])
    main = load_script("datasets/prepare_coco_json.py").main
    words = [kind, str(yolo if kind == "yolo" else source), "--output", str(source / "coco")]
    written = []
    for _ in range(2):
        assert main(words) == 0
        written.append({p.name: p.read_text() for p in (source / "coco").glob("*.json")})
    assert written[0] == written[1] and written[0]


def test_a_split_leaves_out_annotations_whose_image_is_gone(tmp_path, load_script):
    write_labelme(tmp_path, [shape("cell", [[1, 2], [11, 2], [11, 8]])])
    write_labelme(tmp_path, [shape("cell", [[1, 2], [11, 2], [11, 8]])], name="b")
    write_labelme(tmp_path, [shape("cell", [[1, 2], [11, 2], [11, 8]])], name="c")
    main = load_script("datasets/prepare_coco_json.py").main
    output = tmp_path / "coco"
    assert main(["labelme", str(tmp_path), "--output", str(output)]) == 0
    content = json.loads((output / "all.json").read_text())
    del content["images"][0]
    (output / "all.json").write_text(json.dumps(content))
    assert main(["coco_split", str(output / "all.json"), "--output", str(output)]) == 0
    for split in ("train", "val"):
        part = json.loads((output / f"{split}.json").read_text())
        assert [entry["image_id"] for entry in part["annotations"]] == [part["images"][0]["id"]]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be", "cp1252"])
def test_labels_of_windows(yolo, encoding):
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    about = "train: train/images\nnames: [Kätzchen, dog]\n"
    yolo.write_bytes((mark + about).encode(encoding))
    labels = yolo.parent / "train/labels/a.txt"
    labels.write_bytes((mark + "1 0.5 0.5 0.2 0.5\n").encode(encoding))
    content = read_yolo(str(yolo))["train"].content("")
    assert [c["name"] for c in content["categories"]] == ["Kätzchen", "dog"]
    np.testing.assert_allclose(boxes(content), [[24, 10, 12, 20]])


def test_key_points_of_yolo_are_left_out_and_counted(yolo):
    with open(yolo, "a") as file:
        file.write("kpt_shape: [2, 3]\n")
    points = " 0.5 0.5 2 0.6 0.4 1"
    for name, line in (("train", "1 0.5 0.5 0.2 0.5"), ("val", "0 0.25 0.5 0.5 1.0")):
        (labels,) = (yolo.parent / name / "labels").glob("[at]*.txt")
        labels.write_text(line + points + "\n")
    train = read_yolo(str(yolo))["train"]
    np.testing.assert_allclose(boxes(train.content("")), [[24, 10, 12, 20]])
    assert "segmentation" not in train.content("")["annotations"][0]
    assert train.left_out == {"set of key points": 1}
    labels.write_text("0 0.25 0.5 0.5 1.0\n")
    with pytest.raises(UserError, match=r"has 4 numbers .* 'kpt_shape' it must be 10"):
        read_yolo(str(yolo))


@pytest.mark.parametrize("size", [(120, 80), (40, 60)])
def test_files_that_were_resized_or_turned_after_labelling_are_refused(voc, tmp_path, size):
    """As the json route does: the boxes are of another picture."""
    write_labelme(tmp_path / "labelme", [shape("cat", [(5, 5), (9, 5), (9, 9)])])
    path = tmp_path / "labelme/a.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "imageWidth": size[0], "imageHeight": size[1]}))
    said = rf"made for {size[0]}x{size[1]} pixels, and a\.\w+ has 60x40"
    with pytest.raises(UserError, match=said):
        read_labelme(str(tmp_path / "labelme"))
    xml = next((voc / "Annotations").glob("*.xml"))
    text = xml.read_text().replace("<width>60</width>", f"<width>{size[0]}</width>")
    xml.write_text(text.replace("<height>40</height>", f"<height>{size[1]}</height>"))
    with pytest.raises(UserError, match=rf"made for {size[0]}x{size[1]} pixels"):
        read_voc(str(voc))
