import contextlib
import copy
import io
import json
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from imted.data.coco_check.check import check_dataset, check_pair
from imted.data.dataset import write_repaired

SHARED = Path(os.environ.get("IMTED_SHARED_DATA", Path(__file__).parents[4] / "shared/data"))


def check(folder, split="train", masks=False):
    return check_dataset(folder.write(split), str(folder.images), split, masks)


def annotation(folder, key):
    return next(entry for entry in folder.content["annotations"] if entry["id"] == key)


def test_categories_of_train_and_val_must_agree(folder):
    train, val = check(folder), check(folder, "val")
    check_pair(train, val)
    assert train.fatal == val.fatal == []
    folder.content["categories"][1]["name"] = "bug"
    folder.content["categories"].append({"id": 4, "name": "dog"})
    val = check(folder, "val")
    check_pair(train, val)
    assert val.findings["category_mismatch"] == [
        "category 2 is 'bee' in train, 'bug' in val",
        "category 4 is absent in train, 'dog' in val",
    ]
    assert len(val.fatal) == 1 and "val.json" in val.fatal[0]


def test_ids_as_text_are_all_that_is_said(folder):
    train = check(folder)
    folder.content["categories"][0]["id"] = "1"
    val = check(folder, "val")
    check_pair(train, val)
    assert [list(data.findings) for data in (train, val)] == [[], ["id_text"]]


def test_masks_in_train_alone_are_fatal_for_mask_models(folder):
    trains = {masks: check(folder, masks=masks) for masks in (True, False)}
    for entry in folder.content["annotations"]:
        del entry["segmentation"]
    vals = {masks: check(folder, "val", masks) for masks in (True, False)}
    for masks in (True, False):
        check_pair(trains[masks], vals[masks])
    assert vals[True].findings["mask_mismatch"] == ["val.json"]
    assert len(vals[True].fatal) == 1 and "val.json" in vals[True].fatal[0]
    assert vals[False].fatal == []


def test_pycocotools_evaluates_the_repaired_json(folder, tmp_path):
    """Perfect detections score 100; with annotation 0 left as it is they don't."""
    annotation(folder, 11).update(id=0)
    for entry in folder.content["annotations"]:
        del entry["area"], entry["iscrowd"]
    path = write_repaired(check(folder), str(tmp_path)).json_file
    repaired = json.loads(Path(path).read_text())
    truths = {"repaired": repaired, "with annotation 0": copy.deepcopy(repaired)}
    truths["with annotation 0"]["annotations"][0]["id"] = 0
    scores = {}
    for name, content in truths.items():
        (tmp_path / "truth.json").write_text(json.dumps(content))
        results = [
            {**{k: entry[k] for k in ("image_id", "category_id", "bbox")}, "score": 0.9}
            for entry in repaired["annotations"]
        ]
        with contextlib.redirect_stdout(io.StringIO()):
            truth = COCO(str(tmp_path / "truth.json"))
            evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        scores[name] = evaluation.stats[0]
    assert scores["repaired"] == pytest.approx(1.0)
    assert scores["with annotation 0"] < 0.95


@pytest.mark.slow
@pytest.mark.parametrize(("name", "masks"), [("bccd", False), ("nuclei", True)])
def test_real_data_sets_are_clean(name, masks):
    if not (SHARED / name).is_dir():
        pytest.skip("the example data sets are not here")
    reports = [
        check_dataset(
            str(SHARED / name / f"annotations/{split}.json"),
            str(SHARED / name / "images"),
            split,
            masks,
        )
        for split in ("train", "val")
    ]
    check_pair(*reports)
    assert [report.findings for report in reports] == [{}, {}], [str(r) for r in reports]
    assert [report.has_masks for report in reports] == [masks, masks]


def test_an_image_in_both_under_another_name_is_found(folder):
    train = check(folder)
    (folder.images / "2.png").rename(folder.images / "renamed.png")
    folder.content["images"][1]["file_name"] = "renamed.png"
    pixels = Image.open(folder.images / "1.png")
    pixels.putpixel((0, 0), 255 if pixels.mode == "L" else (255, 0, 0))
    pixels.save(folder.images / "other.png")
    folder.content["images"][0]["file_name"] = "other.png"
    shutil.copy(folder.images / "renamed.png", folder.images / "2.png")
    val = check(folder, "val")
    check_pair(train, val)
    assert val.findings["file_shared"] == ["image 2 (renamed.png)"]


def test_what_val_alone_has_and_what_both_have(folder, tmp_path):
    train = check(folder)
    for entry in folder.content["annotations"]:
        entry["category_id"] = 3
    train.content["annotations"] = [
        e for e in train.content["annotations"] if e["category_id"] != 3
    ]
    val = check(folder, "val")
    check_pair(train, val)
    assert val.findings["classes_unseen"] == ["'cat'"]
    assert val.findings["file_shared"] == ["image 1 (1.png)", "image 2 (2.png)"]
    assert val.fatal == []
