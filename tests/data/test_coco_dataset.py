import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from detectron2.config import LazyCall, LazyConfig, instantiate
from detectron2.data import (
    DatasetCatalog,
    DatasetMapper,
    MetadataCatalog,
    build_detection_test_loader,
)
from detectron2.data import transforms as T
from detectron2.evaluation import COCOEvaluator
from detectron2.structures import BitMasks, Boxes, Instances, PolygonMasks
from omegaconf import OmegaConf

from imted.config.dataset import complete_from_dataset, register_dataset
from imted.data.dataset import NAMES, CocoDataset, count_classes, dataset_dicts
from imted.data.train_loader import build_train_loader
from imted.errors import UserError

NAMES["train"], NAMES["val"] = NAMES["train"], NAMES["val"]
TARGET = "imted.data.dataset.CocoDataset"
PROJECT = Path(__file__).parents[2] / "projects/imTED"


def make_config(folder, masks=True, **dataset):
    """The part of a config that a data set decides, with the model as plain values."""
    head = {"num_classes": "${..num_classes}"} if masks else None
    roi_heads = {
        "num_classes": LazyCall(count_classes)(dataset="${dataset}"),
        "box_predictor": {"num_classes": "${..num_classes}"},
        "mask_in_features": ["p2"] if masks else None,
        "mask_pooler": {"output_size": 14} if masks else None,
        "mask_head": head,
    }
    mapper = LazyCall(DatasetMapper)(
        is_train=True,
        augmentations=[LazyCall(T.RandomFlip)(prob=0.0)],
        image_format="BGR",
        use_instance_mask=masks,
    )
    source = {"source": "${dataset}"}
    train_set = LazyCall(dataset_dicts)(names=NAMES["train"], **source)
    test_set = LazyCall(dataset_dicts)(names=NAMES["val"], filter_empty=False, **source)
    return OmegaConf.create(
        {
            "model": {"roi_heads": roi_heads},
            "train": {"output_dir": str(folder.root / "run")},
            "dataset": LazyCall(CocoDataset)(
                **{
                    "train_json": folder.write("train"),
                    "train_images": str(folder.images),
                    "val_json": folder.write("val"),
                    "val_images": str(folder.images),
                    "masks": masks,
                    "output_dir": "${train.output_dir}",
                    **dataset,
                }
            ),
            "dataloader": {
                "train": LazyCall(build_train_loader)(
                    dataset=train_set, mapper=mapper, total_batch_size=2
                ),
                "test": LazyCall(build_detection_test_loader)(
                    dataset=test_set,
                    mapper=LazyCall(DatasetMapper)(
                        is_train=False, augmentations=[], image_format="BGR"
                    ),
                ),
                "evaluator": LazyCall(COCOEvaluator)(dataset_name=NAMES["val"]),
            },
        },
        flags={"allow_objects": True, "struct": True},
    )


def test_classes_come_from_the_json(folder, tmp_path):
    cfg = make_config(folder)
    complete_from_dataset(cfg)
    heads = cfg.model.roi_heads
    assert (heads.num_classes, heads.box_predictor.num_classes, heads.mask_head.num_classes) == (
        3, 3, 3,
    )  # fmt: skip
    assert heads.mask_in_features == ["p2"] and cfg.dataloader.train.mapper.use_instance_mask
    assert MetadataCatalog.get(NAMES["train"]).thing_classes == ["ant", "bee", "cat"]
    assert [len(record["annotations"]) for record in DatasetCatalog.get(NAMES["val"])] == [2, 2]
    assert MetadataCatalog.get(NAMES["train"]).json_file == cfg.dataset.train_json
    LazyConfig.save(cfg, str(tmp_path / "config.yaml"))
    assert yaml.unsafe_load((tmp_path / "config.yaml").read_text())["model"]["roi_heads"][
        "num_classes"
    ] == 3  # fmt: skip
    assert LazyConfig.load(str(tmp_path / "config.yaml")).model.roi_heads.num_classes == 3


def test_registering_again_replaces(folder):
    complete_from_dataset(make_config(folder))
    folder.content["categories"] = [{"id": 7, "name": "dog"}]
    for entry in folder.content["annotations"]:
        entry["category_id"] = 7
    cfg = make_config(folder)
    complete_from_dataset(cfg)
    assert cfg.model.roi_heads.num_classes == 1
    assert {
        a["category_id"] for r in DatasetCatalog.get(NAMES["train"]) for a in r["annotations"]
    } == {0}
    assert MetadataCatalog.get(NAMES["train"]).thing_classes == ["dog"]


def test_a_config_without_a_data_set_is_left_alone():
    cfg = OmegaConf.create({"model": {}})
    assert complete_from_dataset(cfg) == {}
    assert cfg == {"model": {}}


def test_values_that_are_not_given(folder):
    cfg = make_config(folder, train_json="", val_images="")
    with pytest.raises(UserError, match=r"dataset\.train_json.*dataset\.val_images are not given"):
        complete_from_dataset(cfg)


@pytest.mark.parametrize("stated", [2, 80])
def test_a_number_of_classes_that_contradicts_the_json_is_an_error(folder, stated):
    cfg = make_config(folder)
    cfg.model.roi_heads.num_classes = stated
    with pytest.raises(UserError, match=rf"num_classes is {stated}.*3 classes.*num_classes=3"):
        complete_from_dataset(cfg)
    assert cfg.model.roi_heads.num_classes == stated


def test_the_same_number_may_be_stated(folder):
    cfg = make_config(folder)
    cfg.model.roi_heads.num_classes = 3
    complete_from_dataset(cfg)
    assert cfg.model.roi_heads.num_classes == 3


@pytest.fixture
def nothing_registered():
    for name in (NAMES["train"], NAMES["val"]):
        DatasetCatalog.pop(name, None)
        MetadataCatalog.pop(name, None)


def test_it_registers_itself_when_a_loader_asks(folder, nothing_registered):
    """As under Detectron2's own tools, which know nothing of `dataset`."""
    folder.content["annotations"][0]["bbox"] = [30, -5, 20, 10]
    cfg = make_config(folder)
    assert instantiate(cfg.model.roi_heads.num_classes) == 3
    batch = next(iter(instantiate(cfg.dataloader.train)))
    assert [len(sample["instances"]) for sample in batch] == [2, 2]
    assert DatasetCatalog.get(NAMES["train"])[0]["annotations"][0]["bbox"] == [30, 0, 10, 5]
    assert NAMES["val"] in DatasetCatalog.list()  # checked together


def test_it_is_checked_once(folder, nothing_registered, monkeypatch):
    cfg = make_config(folder)
    instantiate(cfg.dataloader.train.dataset)
    monkeypatch.setattr("imted.data.dataset.check_dataset", None)
    instantiate(cfg.dataloader.test.dataset)
    instantiate(cfg.dataloader.train.dataset)


@pytest.mark.parametrize("masks", [True, False])
def test_another_process_is_told_what_was_found(folder, nothing_registered, monkeypatch, masks):
    if not masks:  # the config is then changed, and with it the data set that it describes
        for entry in folder.content["annotations"]:
            del entry["segmentation"]
    cfg = make_config(folder)
    found = complete_from_dataset(cfg)
    monkeypatch.setattr("imted.data.dataset.check_dataset", None)
    instantiate(cfg.dataloader.train.dataset)
    for name in (NAMES["train"], NAMES["val"]):
        DatasetCatalog.pop(name)
        MetadataCatalog.pop(name)
    register_dataset(cfg, found)
    assert len(instantiate(cfg.dataloader.train.dataset)) == 2
    assert len(instantiate(cfg.dataloader.test.dataset)) == 2
    assert MetadataCatalog.get(NAMES["train"]).thing_classes == ["ant", "bee", "cat"]


def test_a_name_that_is_neither_is_an_error(folder):
    cfg = make_config(folder)
    cfg.dataloader.train.dataset.names = "custom_tain"
    with pytest.raises(UserError, match=r"'custom_tain'.*custom_train"):
        instantiate(cfg.dataloader.train.dataset)


def test_evaluation_needs_val_alone(folder):
    cfg = make_config(folder, train_json="", train_images="")
    DatasetCatalog.pop(NAMES["train"], None)
    complete_from_dataset(cfg, training=False)
    assert cfg.model.roi_heads.num_classes == 3
    assert NAMES["train"] not in DatasetCatalog.list() and NAMES["val"] in DatasetCatalog.list()


def test_boxes_alone_switch_masks_off(folder, tmp_path):
    for entry in folder.content["annotations"]:
        del entry["segmentation"]
    cfg = make_config(folder)
    complete_from_dataset(cfg)
    heads = cfg.model.roi_heads
    assert (heads.mask_in_features, heads.mask_pooler, heads.mask_head) == (None, None, None)
    mapper = cfg.dataloader.train.mapper
    assert (mapper.use_instance_mask, mapper.recompute_boxes) == (False, False)
    batch = next(iter(instantiate(cfg.dataloader.train)))
    assert all(not sample["instances"].has("gt_masks") for sample in batch)
    LazyConfig.save(cfg, str(tmp_path / "config.yaml"))
    assert LazyConfig.load(str(tmp_path / "config.yaml")).model.roi_heads.mask_head is None


def test_val_keeps_all_boxes_when_train_has_no_masks(folder):
    del folder.content["annotations"][0]["segmentation"]
    cfg = make_config(folder)
    train = Path(cfg.dataset.train_json)
    content = json.loads(train.read_text())
    for entry in content["annotations"]:
        entry.pop("segmentation", None)
    train.write_text(json.dumps(content))
    complete_from_dataset(cfg)
    assert cfg.model.roi_heads.mask_head is None
    assert sum(len(record["annotations"]) for record in DatasetCatalog.get(NAMES["val"])) == 4


@pytest.mark.parametrize(("rle", "kind"), [(False, PolygonMasks), (True, BitMasks)])
def test_masks_reach_the_training_samples(folder, rle, kind):
    if rle:
        folder.content["annotations"][0]["segmentation"] = {
            "size": [30, 40],
            "counts": [100, 50, 1050],
        }
    cfg = make_config(folder)
    complete_from_dataset(cfg)
    batch = next(iter(instantiate(cfg.dataloader.train)))
    assert all(isinstance(sample["instances"].gt_masks, kind) for sample in batch)


def test_repaired_copy_is_trained_on(folder):
    folder.content["annotations"][0]["bbox"] = [30, -5, 20, 10]
    cfg = make_config(folder)
    complete_from_dataset(cfg)
    path = folder.root / "run/datasets/train.json"
    assert MetadataCatalog.get(NAMES["train"]).json_file == str(path)
    assert cfg.dataset.train_json == str(folder.root / "train.json")
    assert DatasetCatalog.get(NAMES["train"])[0]["annotations"][0]["bbox"] == [30, 0, 10, 5]


def test_fatal_finding_stops(folder, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("imted"), "propagate", True)
    cfg = make_config(folder)
    (folder.images / "2.png").unlink()
    with pytest.raises(UserError, match=r"image 2 \(2\.png\)") as error:
        complete_from_dataset(cfg)
    assert "\n" not in str(error.value)
    assert "fatal: missing image files (1): image 2 (2.png)" in caplog.text
    assert not (folder.root / "run").exists()


def test_category_mismatch_stops(folder):
    train = folder.write("train")
    folder.content["categories"][0]["name"] = "bug"
    cfg = make_config(folder)
    Path(train).write_text(Path(train).read_text().replace("bug", "ant"))
    with pytest.raises(UserError, match="category 1 is 'ant' in train, 'bug' in val"):
        complete_from_dataset(cfg)


@pytest.mark.parametrize("ids", [(0, 1, 2), (5, 90, 7)], ids=["zero-based", "gaps"])
def test_perfect_predictions_score_100_whatever_the_ids(folder, ids):
    for category, new in zip(folder.content["categories"], ids, strict=True):
        category["id"] = new
    for number, entry in enumerate(folder.content["annotations"]):
        entry.update(id=number, category_id=ids[entry["category_id"] - 1])
    cfg = make_config(folder)
    complete_from_dataset(cfg)
    names = MetadataCatalog.get(NAMES["val"]).thing_classes
    by_id = dict(zip(ids, ("ant", "bee", "cat"), strict=True))
    assert names == [by_id[key] for key in sorted(ids)]
    evaluator = instantiate(cfg.dataloader.evaluator)
    evaluator.reset()
    for (sample,) in instantiate(cfg.dataloader.test):
        truth = [
            entry
            for entry in folder.content["annotations"]
            if entry["image_id"] == sample["image_id"]
        ]
        corners = [[x, y, x + w, y + h] for x, y, w, h in (entry["bbox"] for entry in truth)]
        instances = Instances((30, 40))
        instances.pred_boxes = Boxes(torch.tensor(corners, dtype=torch.float32))
        classes = [names.index(by_id[entry["category_id"]]) for entry in truth]
        instances.pred_classes = torch.tensor(classes)
        instances.scores = torch.full((len(truth),), 0.9)
        evaluator.process([sample], [{"instances": instances}])
    results = evaluator.evaluate()["bbox"]
    assert results["AP"] == pytest.approx(100)
    assert all(np.isclose(results[f"AP-{name}"], 100) for name in names)


SCRIPT = """
import json, sys
import torch.distributed as dist
from detectron2.data import MetadataCatalog
from detectron2.utils import comm
from omegaconf import OmegaConf
from imted.data import dataset as coco_json
from imted.config.dataset import complete_from_dataset
from imted.training.distributed import leave_process_group
from imted.errors import UserError


def fit(config):
    cfg = OmegaConf.create(config)
    try:
        complete_from_dataset(cfg)
        said = MetadataCatalog.get(coco_json.NAMES["train"]).json_file
    except UserError as error:
        said = f"error: {error}"
    return said, cfg.model.roi_heads.num_classes


def main(configs, output):
    dist.init_process_group("gloo")
    comm.create_local_process_group(2)
    if comm.get_rank() == 1:  # only the main process reads images and writes
        coco_json.check_dataset = coco_json.write_repaired = None
    with open(f"{output}.{comm.get_rank()}", "w") as file:
        json.dump([fit(config) for config in configs], file)
    leave_process_group()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), sys.argv[2])
"""


@pytest.mark.slow
def test_two_processes_agree(folder, ranks, tmp_path):
    folder.content["annotations"][0]["bbox"] = [30, -5, 20, 10]
    cfg = make_config(folder, masks=False)
    good = {
        "model": {"roi_heads": {"num_classes": None}},
        "train": OmegaConf.to_container(cfg.train),
        "dataset": {**OmegaConf.to_container(cfg.dataset), "_target_": TARGET},
    }
    bad = {**good, "dataset": {**good["dataset"], "val_images": str(tmp_path)}}
    script = tmp_path / "two.py"
    script.write_text(SCRIPT)
    for process in ranks(script, json.dumps([good, bad]), tmp_path / "said"):
        assert process.returncode == 0, process.stderr
    one, two = (json.loads((tmp_path / f"said.{rank}").read_text()) for rank in (0, 1))
    assert one == two
    (json_file, num_classes), (error, unchanged) = one
    assert json_file == str(folder.root / "run/datasets/train.json") and num_classes == 3
    assert "missing image files (2): image 1 (1.png)" in error and unchanged is None
