"""What is missing of a data set is named; nothing here is downloaded."""

import json
import sys

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog, get_detection_dataset_dicts
from PIL import Image

from imted.data.coco_json import register_coco_json
from imted.data.dataset import dataset_dicts
from imted.errors import UserError

NAME = "test_dataset_dicts"


@pytest.fixture
def register(tmp_path):
    """Register a COCO json of two images, the second without objects; images are not written."""

    def register(iscrowd=0):
        path = tmp_path / "truth.json"
        image = {"width": 8, "height": 8}
        entry = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 4, 4], "area": 16}
        content = {
            "images": [{**image, "id": i, "file_name": f"{i}.png"} for i in (1, 2)],
            "annotations": [{**entry, "iscrowd": iscrowd}],
            "categories": [{"id": 1, "name": "ant"}],
        }
        path.write_text(json.dumps(content))
        register_coco_json(NAME, str(path), str(tmp_path), {1: "ant"})
        return path

    yield register
    if NAME in DatasetCatalog.list():
        DatasetCatalog.remove(NAME)
        MetadataCatalog.remove(NAME)


@pytest.mark.parametrize("filter_empty", [True, False])
def test_a_whole_data_set_is_what_detectron2_loads(register, tmp_path, filter_empty):
    register()
    for number in (1, 2):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{number}.png")
    found = dataset_dicts(NAME, filter_empty=filter_empty)
    assert found == get_detection_dataset_dicts(NAME, filter_empty=filter_empty)
    assert len(found) == 2 - filter_empty


def test_missing_annotations_and_missing_images_are_named(register, tmp_path):
    path = register()
    Image.new("RGB", (8, 8)).save(tmp_path / "1.png")
    with pytest.raises(UserError, match=rf"{NAME} .*2\.png, which doesn't exist; .*DETECTRON2_DAT"):
        dataset_dicts(NAME, filter_empty=False)
    path.unlink()
    with pytest.raises(UserError, match=rf"{NAME} .*truth\.json, which doesn't exist"):
        dataset_dicts([NAME])


def test_a_data_set_of_crowds_alone(register):
    register(iscrowd=1)
    with pytest.raises(UserError, match=f"{NAME} .* has no image to use: No valid data"):
        dataset_dicts(NAME)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("voc_2007_test", "VOC2007/ImageSets/Main/test.txt"),
        ("coco_2017_train", "coco/annotations/instances_train2017.json"),
    ],
)
def test_a_data_set_that_nobody_has_unpacked(name, file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # Detectron2 registered relative paths when it was imported
    with pytest.raises(UserError, match=f"{name} .*{file}, which doesn't exist"):
        dataset_dicts(name)


def test_a_package_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "lvis", None)
    with pytest.raises(UserError, match=r"lvis_v1_val .*pip install --no-deps lvis"):
        dataset_dicts("lvis_v1_val")


def test_unknown_names():
    with pytest.raises(UserError, match=r"'coco_2017_vl' .*did you mean coco_2017_val\?"):
        dataset_dicts("coco_2017_vl")
    with pytest.raises(UserError, match=r"'0{20}' .*register it"):
        dataset_dicts(["coco_2017_val", "0" * 20])
