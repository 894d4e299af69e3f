"""What an evaluation says where the data isn't what the detector, or COCO's AP, is used to."""

import json

import pytest
from omegaconf import OmegaConf

from imted.config.dataset import complete_from_dataset
from imted.config.load import load_config


@pytest.fixture
def evaluate(detector_run, train_net, tmp_path):
    """Evaluate a small detector of ant, bee and cat on a changed json; return what it found."""
    folder = detector_run(masks=False)
    truth = json.loads((tmp_path / "val.json").read_text())

    def run(change, name):
        content = json.loads(json.dumps(truth))
        change(content)
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
        status = train_net(
            *("--config-file", folder / "config.yaml", "--eval-only"),
            f"train.init_checkpoint={folder}/model_final.pth",
            f"dataset.val_json={tmp_path}/{name}.json",
            f"train.output_dir={tmp_path}/{name}",
        )
        if status:
            return None
        path = tmp_path / name / "eval/inference/coco_instances_results.json"
        names = {c["id"]: c["name"] for c in content["categories"]}
        return [
            (r["image_id"], names[r["category_id"]], *map(round, r["bbox"]), round(r["score"], 4))
            for r in json.loads(path.read_text())
        ]

    return run


def turn_round(content):
    """Give the same classes the ids in another order."""
    ids = [c["id"] for c in content["categories"]]
    new = dict(zip(ids, reversed(ids), strict=True))
    for entry in content["categories"]:
        entry["id"] = new[entry["id"]]
    for entry in content["annotations"]:
        entry["category_id"] = new[entry["category_id"]]


def test_classes_that_a_json_numbers_otherwise_are_matched_by_name(evaluate, capsys):
    expected = evaluate(lambda content: None, "same")
    assert len({name for _, name, *_ in expected}) > 1
    found = evaluate(turn_round, "turned")
    assert sorted(found) == sorted(expected)
    assert "matched by their names" in capsys.readouterr().out


def test_foreign_classes_are_refused(evaluate, capsys):
    assert evaluate(lambda c: c["categories"][0].update(name="wasp"), "foreign") is None
    error = capsys.readouterr().err
    assert "ant, bee, cat" in error and "wasp, bee, cat" in error and "not in both" in error


def crowded_config(tmp_path, folder, kept):
    truth = json.loads((tmp_path / "val.json").read_text())
    image = truth["images"][0]["id"]
    truth["annotations"] = [
        {"id": i + 1, "image_id": image, "category_id": 5, "bbox": [i % 60, i // 60, 20, 20],
         "area": 400, "iscrowd": 0}
        for i in range(150)
    ]  # fmt: skip
    (tmp_path / "val.json").write_text(json.dumps(truth))
    key = f"model.roi_heads.box_predictor.test_topk_per_image={kept}"
    return load_config(str(folder / "config.yaml"), [key])


@pytest.mark.parametrize(("kept", "counted"), [(100, None), (300, 300)])
def test_the_metric_counts_what_the_detector_keeps(detector_run, tmp_path, caplog, kept, counted):
    cfg = crowded_config(tmp_path, detector_run(masks=False), kept)
    complete_from_dataset(cfg, training=False)
    assert OmegaConf.select(cfg, "dataloader.evaluator.max_dets_per_image") == counted
    said = [r.getMessage() for r in caplog.records if "has 150 objects" in r.getMessage()]
    assert len(said) == (kept < 150)
    if said:
        assert "test_topk_per_image=150 keeps more" in said[0]
