import json
import math

import numpy as np
import pytest
from detectron2.config import LazyConfig, instantiate
from paths import ROOT

from imted.errors import UserError
from imted.experiments.occlusion import OcclusionRecallEvaluator
from imted.experiments.occlusion import predictions as predictions_module
from imted.experiments.occlusion.data import OccludedObject, write_list


@pytest.fixture
def write(tmp_path, make):
    """Write a list of (file name, class, mask, ratio); return its path."""

    def write(name: str, *objects: tuple) -> str:
        path = tmp_path / f"{name}.json"
        items = [
            OccludedObject(file_name, category, i, make.rle(mask), ratio)
            for i, (file_name, category, mask, ratio) in enumerate(objects)
        ]
        write_list(path, items, "a test")
        return str(path)

    return write


@pytest.fixture
def recalls(dataset, write, make):
    """Evaluate detections, by image id, on one list given as the occluded and the separated one."""

    def recalls(objects: list[tuple], outputs: dict, images: int = 1, **options) -> dict:
        name = dataset([make.annotation(make.rectangle(0, 0, 9, 9))], images)
        path = write("list", *objects)
        evaluator = OcclusionRecallEvaluator(name, occluded=path, separated=path, **options)
        results = make.evaluation(evaluator, outputs)
        assert results.keys() == {"occluded", "separated"}
        assert results["occluded"] == results["separated"]
        return results["occluded"]

    return recalls


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return (one & other).sum() / (one | other).sum()


def box_of(mask: np.ndarray) -> np.ndarray:
    """The mask of a mask's bounding box."""
    box = np.zeros_like(mask)
    rows, columns = np.nonzero(mask)
    box[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
    return box


@pytest.mark.parametrize("seed", range(4))
def test_recalls_are_those_of_loops_over_pixels(recalls, make, seed):
    rng = np.random.default_rng(seed)
    names, images = ["ant", "bee", "cat"], 5

    def jitter(mask: np.ndarray) -> np.ndarray:
        rows, columns = np.nonzero(mask)
        x, y = columns.min(), rows.min()
        width, height = columns.max() + 1 - x, rows.max() + 1 - y
        x, y, width, height = np.add((x, y, width, height), rng.integers(-2, 3, 4)).clip(0)
        mask = make.rectangle(x, y, width, height)
        mask[y : y + 4, x + 6 : x + 9] = rng.random() < 0.5  # so that boxes and masks differ
        return mask

    objects, outputs = [], {}
    for image_id in range(1, images + 1):
        found = []
        for _ in range(4):
            index = int(rng.integers(3))
            x, y, width, height = rng.integers((0, 0, 12, 12), (30, 30, 26, 26))
            mask = make.rectangle(x, y, width, height)
            objects.append((f"{image_id}.png", names[index], mask, 0.5))
            twin = jitter(mask)  # overlaps so much that one detection may fit both
            objects.append((f"{image_id}.png", names[index], twin, 0.5))
            for _ in range(2):
                score = float(rng.random())
                found.append((jitter(mask), int(rng.choice([index, index, 0])), score))
        outputs[image_id] = make.detections(*found)
    del outputs[2]  # no prediction: its objects are missed

    expected = {}
    for kind, shape in (("mask", lambda mask: mask), ("box", box_of)):
        reused, once = set(), set()
        for image_id, output in outputs.items():
            instances = output["instances"]
            for d in np.argsort(-instances.scores.numpy()):
                detected = shape(instances.pred_masks[d].numpy())
                best = None
                for i, (file_name, category, mask, _) in enumerate(objects):
                    fits = (
                        file_name == f"{image_id}.png"
                        and category == names[instances.pred_classes[d]]
                        and instances.scores[d] >= 0.3
                        and overlap(detected, shape(mask)) >= 0.75
                    )
                    if not fits:
                        continue
                    reused.add(i)
                    value = overlap(detected, shape(mask))
                    if i not in once and (best is None or value > best[0]):
                        best = value, i
                if best:
                    once.add(best[1])
        expected[f"{kind}_recall"] = 100 * len(reused) / len(objects)
        expected[f"{kind}_recall_one_to_one"] = 100 * len(once) / len(objects)
    assert 0 < expected["mask_recall_one_to_one"] < expected["mask_recall"] < 100
    assert recalls(objects, outputs, images) == pytest.approx(expected)


def test_a_detection_that_is_used_again_counts_twice_or_once(recalls, make):
    whole, most = make.rectangle(0, 0, 20, 10), make.rectangle(0, 0, 18, 10)  # IoU 0.9
    objects = [("1.png", "ant", whole, 0.1), ("1.png", "ant", most, 0.2)]
    assert recalls(objects, {1: make.detections((whole, 0, 0.9))}) == {
        "mask_recall": 100,
        "mask_recall_one_to_one": 50,
        "box_recall": 100,
        "box_recall_one_to_one": 50,
    }
    # The second takes what the first has left, although the other fits it better.
    both = make.detections((whole, 0, 0.9), (whole, 0, 0.8))
    assert recalls(objects, {1: both})["mask_recall_one_to_one"] == 100
    # The surer one chooses first, and the other fits nothing else: IoU 0.8 and 0.72.
    wide = make.rectangle(0, 0, 25, 10)
    both = make.detections((wide, 0, 0.5), (whole, 0, 0.9))
    assert recalls(objects, {1: both})["mask_recall_one_to_one"] == 50


def test_thresholds_belong_to_what_is_found(recalls, make):
    objects = [("1.png", "ant", make.rectangle(0, 0, 20, 10), 0.1)]
    three_quarters = make.rectangle(0, 0, 15, 10)
    less = make.rectangle(0, 0, 15, 10)
    less[9, 14] = False  # of the mask only: the box stays
    for mask, score, found in (
        (three_quarters, 0.3, (100, 100)),
        (three_quarters, 0.29, (0, 0)),
        (less, 0.9, (0, 100)),
    ):
        result = recalls(objects, {1: make.detections((mask, 0, score))})
        assert (result["mask_recall"], result["box_recall"]) == found
    loose = recalls(objects, {1: make.detections((less, 0, 0.1))}, min_iou=0.7, min_score=0.1)
    assert loose["mask_recall"] == 100


def test_other_classes_and_images_miss(recalls, make):
    mask = make.rectangle(5, 5, 20, 10)
    objects = [("1.png", "bee", mask, 0.1), ("2.png", "bee", mask, 0.1)]
    found = make.detections((mask, 0, 0.9), (mask, 2, 0.9))
    assert recalls(objects, {1: found}, images=2)["mask_recall"] == 0
    found = make.detections((mask, 1, 0.9))
    assert recalls(objects, {1: found}, images=2)["mask_recall"] == 50
    assert recalls(objects, {1: make.detections(), 2: found}, images=2)["mask_recall"] == 50
    # A class that the detector doesn't know, and one that has no truth.
    objects[1] = ("1.png", "elephant", mask, 0.1)
    found = make.detections((mask, 1, 0.9), (mask, 2, 0.95))
    assert recalls(objects, {1: found})["mask_recall"] == 50


def test_objects_of_unknown_ratio_count_unless_skipped(recalls, make):
    mask, other = make.rectangle(0, 0, 20, 10), make.rectangle(30, 30, 9, 9)
    objects = [("1.png", "ant", mask, 0.4), ("1.png", "ant", other, None)]
    found = {1: make.detections((mask, 0, 0.9))}
    assert recalls(objects, found)["mask_recall"] == 50
    assert recalls(objects, found, skip_unknown_ratios=True)["mask_recall"] == 100


def test_a_detector_without_masks_has_box_recalls_only(recalls, make):
    mask = make.rectangle(0, 0, 20, 10)
    objects = [("1.png", "ant", mask, 0.4)]
    found = {1: make.detections((mask, 0, 0.9), masks=False)}
    assert recalls(objects, found) == {"box_recall": 100, "box_recall_one_to_one": 100}
    nothing = recalls(objects, {1: make.detections()})
    assert nothing["mask_recall"] == nothing["box_recall"] == 0


def test_lists_are_derived_without_files(dataset, make):
    bar = make.rectangle(28, 0, 4, 60)
    cut, notched = make.rectangle(10, 10, 40, 10) & ~bar, make.rectangle(20, 40, 30, 10) & ~bar
    notched[40:45, 28:32] = True  # still connected above the bar's lower part
    name = dataset(
        [
            make.annotation(cut, occlusion_ratio=0.1),
            make.annotation(notched, category_id=7, occlusion_ratio=0.05),
            make.annotation(make.rectangle(0, 0, 5, 5), occlusion_ratio=0.0),
        ]
    )
    evaluator = OcclusionRecallEvaluator(name)
    found = make.evaluation(evaluator, {1: make.detections((cut, 0, 0.9))})
    assert (found["separated"]["mask_recall"], found["occluded"]["mask_recall"]) == (100, 0)
    found = make.evaluation(evaluator, {1: make.detections((notched, 1, 0.9))})
    assert (found["separated"]["mask_recall"], found["occluded"]["mask_recall"]) == (0, 100)


def test_an_empty_list_has_no_recall(dataset, make):
    name = dataset([make.annotation(make.rectangle(0, 0, 5, 5), occlusion_ratio=0.0)])
    results = make.evaluation(OcclusionRecallEvaluator(name), {1: make.detections()})
    assert all(math.isnan(v) for values in results.values() for v in values.values())


def test_predictions_of_all_processes_count(dataset, make, monkeypatch):
    masks = [make.rectangle(0, 0, 20, 10), make.rectangle(0, 20, 20, 10)]
    name = dataset([make.annotation(mask, occlusion_ratio=0.1) for mask in masks])
    one, other = OcclusionRecallEvaluator(name), OcclusionRecallEvaluator(name)
    for evaluator, mask in zip((one, other), masks, strict=True):
        evaluator.process([{"image_id": 1}], [make.detections((mask, 0, 0.9))])
    shared = []
    monkeypatch.setattr(predictions_module.comm, "gather", lambda x: shared.append(x) or shared)
    monkeypatch.setattr(predictions_module.comm, "is_main_process", lambda: len(shared) == 2)
    assert other.evaluate() == {}
    assert one.evaluate()["occluded"]["mask_recall"] == 100


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (("val2017/1.png", "ant"), r"image of .*truth\.json .*val2017/1\.png"),
        (("1.png", "elephant"), r"class of .*truth\.json .*elephant"),
    ],
)
def test_a_list_of_another_data_set_is_refused(dataset, write, make, item, message):
    mask = make.rectangle(0, 0, 9, 9)
    name, path = dataset([make.annotation(mask)]), write("other", (*item, mask, 0.1))
    with pytest.raises(UserError, match=rf"other\.json .*{message}"):
        OcclusionRecallEvaluator(name, occluded=path, separated=path)


@pytest.mark.parametrize("content", [None, "[]", "{", json.dumps({"objects": [{"a": 1}]})])
def test_a_list_that_is_none_is_refused(dataset, make, tmp_path, content):
    path = tmp_path / "list.json"
    if content is not None:
        path.write_text(content)
    name = dataset([make.annotation(make.rectangle(0, 0, 9, 9))])
    with pytest.raises(UserError, match=r"list\.json.*prepare_occlusion\.py"):
        OcclusionRecallEvaluator(name, occluded=str(path), separated=str(path))


@pytest.mark.parametrize("name", ["shapes.py", "custom.py"])
def test_the_config_reports_lists_and_bins_beside_coco(dataset, make, tmp_path, name):
    cfg = LazyConfig.load(str(ROOT / "configs/occlusion" / name))
    mask = make.rectangle(0, 0, 20, 10)
    cfg.dataloader.test.dataset.names = dataset([make.annotation(mask, occlusion_ratio=0.3)])
    cfg.train.output_dir = str(tmp_path)
    results = make.evaluation(
        instantiate(cfg.dataloader.evaluator), {1: make.detections((mask, 0, 0.9))}
    )
    assert results["bbox"]["AP"] == pytest.approx(100)
    assert results["occluded"]["mask_recall"] == 100
    assert results["segm_by_occlusion"]["AP_0.25..0.5"] == pytest.approx(100)
