import logging
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imted.errors import UserError
from imted.experiments.single_object.data import SingleObjectMapper, read_single_object
from prepare_single_object import single_object_scene, write_single_object
from synthetic.shapes import CLASS_NAMES, ShapesOptions

OPTIONS = ShapesOptions(
    image_size=64, max_objects=1, empty_fraction=0, crowd_fraction=0, cut_fraction=0, min_object=0.2
)


def an_object(name: str = "n01", box: tuple = (1, 2, 11, 22)) -> str:
    corners = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    corners = "".join(f"<{key}>{value}</{key}>" for key, value in corners)
    return f"<object><name>{name}</name><bndbox>{corners}</bndbox></object>"


@pytest.fixture
def add(tmp_path):
    """Add an image and its XML to the folders; return the XML's path."""

    def add(stem: str, content: str) -> Path:
        image = tmp_path / "Data/CLS-LOC" / f"{stem}.JPEG"
        image.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(image)
        xml = tmp_path / "Annotations/CLS-LOC" / f"{stem}.xml"
        xml.parent.mkdir(parents=True, exist_ok=True)
        xml.write_text(f"<annotation>{content}</annotation>")
        return xml

    return add


def test_images_with_exactly_one_box_in_imagenets_folders(add, tmp_path):
    add("train/n02/n02_7", an_object("n02", (0, 1.5, 40, 30)))
    add("train/n01/n01_3", an_object())
    add("train/n01/n01_2", an_object() + an_object(box=(5, 5, 9, 9)))
    add("train/n01/n01_1", "")
    add("val/val_1", an_object("n02"))

    def entry(stem, number, category, box):
        annotation = {"bbox": box, "bbox_mode": 0, "category_id": category}
        name = str(tmp_path / "Data/CLS-LOC" / f"{stem}.JPEG")
        return {
            "file_name": name,
            "image_id": number,
            "annotated_size": None,
            "annotations": [annotation],
        }

    assert read_single_object(str(tmp_path), "train", 2) == [
        entry("train/n01/n01_3", 1, 0, [1, 2, 11, 22]),
        entry("train/n02/n02_7", 2, 1, [0, 1.5, 40, 30]),
    ]
    assert read_single_object(str(tmp_path), "val", 2) == [entry("val/val_1", 1, 1, [1, 2, 11, 22])]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<object>", "is not XML"),
        (an_object(""), "object 1 .*name"),
        (an_object(box=(1, 2, "wide", 4)), "bndbox of object 1 .*xmin, ymin, xmax, ymax"),
        ("<object><name>n01</name></object>", "bndbox of object 1"),
        (an_object(box=(1, 2, "nan", 4)), "bndbox of object 1"),
    ],
)
def test_broken_xml_is_named(add, tmp_path, content, message):
    add("train/n01/good", an_object())
    path = add("train/n01/bad", content)
    with pytest.raises(UserError, match=message) as caught:
        read_single_object(str(tmp_path), "train", 1)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_known_faults_of_imagenets_xml_files(add, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("imted"), "propagate", True)
    add("train/n01/a", an_object("Scottish_deerhound"))  # the folder says what it is
    add("train/n01/b", an_object(box=(11, 22, 1, 2)))
    add("train/n01/c", an_object(box=(5, 2, 5, 4)))
    add("train/n01/d", an_object() + an_object(box=(5, 2, 5, 4)))
    with caplog.at_level("INFO", logger="imted"):
        records = read_single_object(str(tmp_path), "train", 1)
    assert [Path(record["file_name"]).stem for record in records] == ["a", "b"]
    for record in records:
        (annotation,) = record["annotations"]
        assert (annotation["category_id"], annotation["bbox"]) == (0, [1, 2, 11, 22])
    assert re.search(r"CLS-LOC/train: 2 of 4 .* 1 more", caplog.text)
    path = add("val/e", an_object("n99"))
    with pytest.raises(UserError, match=rf"{path}.*'n99'"):
        read_single_object(str(tmp_path), "val", 1)


def test_boxes_of_another_size_are_brought_to_the_images(add, tmp_path):
    size = "<size><width>{}</width><height>{}</height></size>"
    add("train/n01/other", size.format(80, 15) + an_object(box=(10, 5, 40, 10)))  # it is 40 x 30
    add("train/n01/zero", size.format(0, 0) + an_object(box=(10, 5, 40, 10)))
    other, zero = read_single_object(str(tmp_path), "train", 1)
    assert (other["annotated_size"], zero["annotated_size"]) == ((80, 15), None)
    mapper = SingleObjectMapper(is_train=True, augmentations=[], image_format="RGB")
    for record, box in ((other, [5, 10, 20, 20]), (zero, [10, 5, 40, 10])):
        assert mapper(record)["instances"].gt_boxes.tensor.tolist() == [box]
        assert record["annotations"][0]["bbox"] == [10, 5, 40, 10]  # left as it was


def test_other_errors_are_named(add, tmp_path):
    with pytest.raises(UserError, match=r"/train .*dataloader\.train\.dataset\.root"):
        read_single_object(str(tmp_path), "train", 1)
    add("train/n01/one", an_object())
    with pytest.raises(UserError, match=r"/train has 1 .* 7; .*model\.num_classes=1"):
        read_single_object(str(tmp_path), "train", 7)
    with pytest.raises(UserError, match="'test'"):
        read_single_object(str(tmp_path), "test", 1)
    (tmp_path / "Data/CLS-LOC/train/n01/one.JPEG").unlink()
    with pytest.raises(UserError, match=r"one\.xml .*one\.JPEG"):
        read_single_object(str(tmp_path), "train", 1)
    add("train/n01/one", an_object() * 2)
    with pytest.raises(UserError, match=r"/train .*exactly one object"):
        read_single_object(str(tmp_path), "train", 1)


def test_mapper_rejects_a_box_outside_the_image(add, tmp_path):
    add("train/n01/in", an_object(box=(30, 20, 50, 40)))
    add("train/n01/out", an_object(box=(100, 100, 120, 120)))
    inside, outside = read_single_object(str(tmp_path), "train", 1)
    mapper = SingleObjectMapper(is_train=True, augmentations=[], image_format="RGB")
    assert mapper(inside)["instances"].gt_boxes.tensor.tolist() == [[30, 20, 40, 30]]
    assert mapper(outside) is None


def test_shapes_are_written_as_they_are_read(tmp_path):
    write_single_object(tmp_path / "new", {"train": 12, "val": 4}, 3, OPTIONS)
    for split, count in (("train", 12), ("val", 4)):
        records = read_single_object(str(tmp_path / "new"), split, len(CLASS_NAMES))
        assert len(records) == count
        for record in records:
            index = int(Path(record["file_name"]).stem.split("_")[-1])
            scene = single_object_scene(3, split, index, OPTIONS)
            (instance,) = scene.instances
            (annotation,) = record["annotations"]
            rows, columns = np.nonzero(instance.visible)
            corners = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert annotation["bbox"] == corners
            assert annotation["category_id"] == sorted(CLASS_NAMES).index(
                CLASS_NAMES[instance.category]
            )
            pixels = np.asarray(Image.open(record["file_name"])).astype(int)
            assert np.abs(pixels - scene.image).mean() < 8  # of the right scene, as a JPEG


def test_shapes_writer_refuses_a_full_folder_and_wrong_numbers(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=f"{tmp_path} .*--output"):
        write_single_object(tmp_path, {"train": 1}, 0, OPTIONS)
    with pytest.raises(UserError, match="val images is 0"):
        write_single_object(tmp_path / "new", {"val": 0}, 0, OPTIONS)
    with pytest.raises(UserError, match="seed is -1"):
        write_single_object(tmp_path / "new", {"val": 1}, -1, OPTIONS)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_command_writes_shapes_into_an_empty_folder_alone(load_script, tmp_path, capsys):
    main = load_script("datasets/prepare_single_object.py").main
    args = ["--output", str(tmp_path), "--train-images", "3", "--val-images", "2"]
    assert main([*args, "--image-size", "64", "--class-colours"]) == 0
    assert f"{tmp_path}: 3 + 2 " in capsys.readouterr().out
    records = read_single_object(str(tmp_path), "train", len(CLASS_NAMES))
    assert [Image.open(record["file_name"]).size for record in records] == [(64, 64)] * 3
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    assert main(args) == 1
    assert capsys.readouterr().err.startswith(f"error: {tmp_path} ")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before


def test_the_command_writes_where_detectron2_looks(default_output):
    assert default_output("datasets/prepare_single_object.py") == "shapes_single_object"
