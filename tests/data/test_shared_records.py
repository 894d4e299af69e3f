"""One copy of a data set for the processes of a machine."""

import json
import pickle

import numpy as np
import pytest

from imted.data.shared_records import SharedRecords, load_once
from imted.data.train_loader import build_train_loader

RECORDS = [
    {"file_name": f"{i}.jpg", "width": 3 + i % 2, "height": 3, "annotations": [{"bbox": [i] * i}]}
    for i in range(7)
]


@pytest.fixture
def shared(tmp_path):
    path = tmp_path / "records"
    SharedRecords.write(RECORDS, str(path))
    found = SharedRecords(str(path))
    path.unlink()  # the mapping outlives the name
    return found


def test_it_is_the_list_that_was_written(shared):
    assert list(shared) == RECORDS and len(shared) == 7
    assert (
        shared[-1] == RECORDS[-1] and shared[2:5] == RECORDS[2:5] and shared[::-2] == RECORDS[::-2]
    )
    with pytest.raises(IndexError):
        shared[7]
    shared[0]["width"] = 99  # what is changed is a copy
    assert shared[0] == RECORDS[0]
    assert list(pickle.loads(pickle.dumps(shared))) == RECORDS


def test_a_loader_yields_from_it_what_it_yields_from_a_list(shared):
    def drawn(dataset, workers):
        loader = build_train_loader(dataset, dict, 2, seed=1, num_workers=workers)
        return [batch for _, batch in zip(range(9), loader, strict=False)]

    assert drawn(shared, 0) == drawn(shared, 1) == drawn(list(RECORDS), 0)


def test_a_single_process_keeps_its_list():
    assert load_once(lambda: RECORDS) is RECORDS


# Two processes load a data set whose classes are known from the file alone.
SCRIPT = """
import json, sys, tempfile, os
from pathlib import Path
import torch.distributed as dist
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.utils import comm
import imted.data.dataset as catalog
from imted.training.distributed import leave_process_group
from imted.errors import UserError

folder = Path(sys.argv[1])
dist.init_process_group("gloo")
comm.create_local_process_group(2)
register_coco_instances("two", {}, str(folder / "truth.json"), str(folder))
loads = []
load = catalog.get_detection_dataset_dicts
catalog.get_detection_dataset_dicts = lambda *a, **k: loads.append(1) or load(*a, **k)
try:
    found = [dict(record) for record in catalog.dataset_dicts("two", filter_empty=False)]
except UserError as error:
    found = str(error)
names = MetadataCatalog.get("two").as_dict().get("thing_classes")
left = [name for name in os.listdir(tempfile.gettempdir()) if name.startswith("imted_records")]
out = {"found": found, "loads": len(loads), "names": names, "left": left}
(folder / f"{comm.get_rank()}.json").write_text(json.dumps(out))
comm.synchronize()
leave_process_group()
"""


@pytest.mark.slow
@pytest.mark.parametrize("problem", [None, "no images", "no room"])
def test_two_processes_load_once(ranks, tmp_path, monkeypatch, problem):
    script, room = tmp_path / "script.py", tmp_path / "room"
    script.write_text(SCRIPT)
    room.mkdir()
    monkeypatch.setenv("TMPDIR", str(room))
    image = {"id": 5, "file_name": "a.png", "width": 8, "height": 8}
    box = {"id": 1, "image_id": 5, "category_id": 3, "bbox": [1, 1, 4, 4], "area": 16, "iscrowd": 0}
    truth = {"images": [image], "annotations": [box], "categories": [{"id": 3, "name": "ant"}]}
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    if problem != "no images":
        from PIL import Image

        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "a.png")
    if problem == "no room":
        text = SCRIPT.replace(
            "loads = []",
            "import torch\ndef save(*_):\n    raise OSError(28, 'no space')\n"
            "torch.save = save\nloads = []",
        )
        script.write_text(text)
    for process in ranks(script, tmp_path):
        assert process.returncode == 0, process.stderr
    one, two = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert (one["loads"], two["loads"]) == (1, 0)
    assert one["found"] == two["found"]
    assert one["left"] == two["left"] == []
    if problem is None:
        assert one["found"][0]["image_id"] == 5 and len(one["found"]) == 1
        assert one["names"] == two["names"] == ["ant"]
    else:
        said = "a.png, which doesn't exist" if problem == "no images" else "set TMPDIR to a folder"
        assert said in one["found"]
