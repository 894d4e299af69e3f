import math
import re

import numpy as np
import pytest

from imted.errors import UserError
from imted.experiments.occlusion import OcclusionBinsEvaluator

IOUS = np.linspace(0.5, 0.95, 10)


def evaluate(make, name, outputs, **options):
    return make.evaluation(OcclusionBinsEvaluator(name, **options), outputs)


def test_an_object_outside_the_bin_is_neither_missed_nor_wrong(dataset, make):
    bare, hidden = make.rectangle(0, 0, 20, 10), make.rectangle(30, 30, 20, 10)
    name = dataset(
        [make.annotation(bare, occlusion_ratio=0.0), make.annotation(hidden, occlusion_ratio=0.6)]
    )
    # The sure one would halve the other's AP if it counted as wrong there.
    results = evaluate(make, name, {1: make.detections((bare, 0, 0.9), (hidden, 0, 0.5))})
    for task in ("bbox_by_occlusion", "segm_by_occlusion"):
        assert results[task]["AP_0"] == pytest.approx(100)
        assert results[task]["AP_0.5..0.75"] == pytest.approx(100)
    results = evaluate(make, name, {1: make.detections((bare, 0, 0.9))})["bbox_by_occlusion"]
    assert (results["AP_0"], results["AR_0"]) == pytest.approx((100, 100))
    assert results["AP_0.5..0.75"] == results["AR_0.5..0.75"] == 0
    assert results["AR_all"] == pytest.approx(50)
    assert math.isnan(results["AP_0..0.25"]) and math.isnan(results["AR_0.75..1"])


def test_a_detection_of_nothing_is_wrong_in_every_bin(dataset, make):
    bare, hidden = make.rectangle(0, 0, 20, 10), make.rectangle(30, 30, 20, 10)
    name = dataset(
        [make.annotation(bare, occlusion_ratio=0.0), make.annotation(hidden, occlusion_ratio=0.6)]
    )
    nothing = (make.rectangle(0, 50, 9, 9), 0, 0.99)
    found = make.detections(nothing, (bare, 0, 0.9), (hidden, 0, 0.5))
    results = evaluate(make, name, {1: found})["segm_by_occlusion"]
    assert (results["AP_0"], results["AP_0.5..0.75"]) == pytest.approx((50, 50))
    assert results["AP_all"] == pytest.approx(100 * 2 / 3)
    assert (results["AR_0"], results["AR_0.5..0.75"]) == pytest.approx((100, 100))


@pytest.mark.parametrize(
    ("ratio", "name"),
    [(0.0, "0"), (1e-6, "0..0.25"), (0.25, "0..0.25"), (0.2501, "0.25..0.5"), (1.0, "0.75..1")],
)
def test_an_edge_belongs_to_the_bin_below_it(dataset, make, ratio, name):
    mask = make.rectangle(0, 0, 20, 10)
    truth = dataset([make.annotation(mask, occlusion_ratio=ratio, id=0)])  # 0 is an id, too
    results = evaluate(make, truth, {1: make.detections((mask, 0, 0.9))})["bbox_by_occlusion"]
    counted = {key for key, value in results.items() if value == pytest.approx(100)}
    assert counted == {"AP_all", "AR_all", f"AP_{name}", f"AR_{name}"}


def test_a_crowd_needs_no_ratio(dataset, make):
    mask, crowd = make.rectangle(0, 0, 20, 10), make.rectangle(30, 30, 20, 10)
    name = dataset(
        [
            make.annotation(mask, occlusion_ratio=0.6),
            make.annotation(crowd, occlusion_ratio=None, iscrowd=1, id=2),
        ]
    )
    results = evaluate(make, name, {1: make.detections((mask, 0, 0.8), (crowd, 0, 0.9))})
    assert results["segm_by_occlusion"]["AP_0.5..0.75"] == pytest.approx(100)


def test_edges_can_be_chosen(dataset, make):
    mask = make.rectangle(0, 0, 20, 10)
    name = dataset([make.annotation(mask, occlusion_ratio=0.1)])
    outputs = {1: make.detections((mask, 0, 0.9), masks=False)}
    results = evaluate(make, name, outputs, edges=(0.2, 1.0))
    assert results.keys() == {"bbox_by_occlusion"}
    assert results["bbox_by_occlusion"]["AR_0..0.2"] == pytest.approx(100)
    for edges in ((), (0.5, 0.2, 1.0), (0.0, 0.5), (-0.1, 1.0), (0.5, 0.5, 1.0)):
        with pytest.raises(UserError, match=rf"edges.*{re.escape(str(list(edges)))}"):
            OcclusionBinsEvaluator(name, edges=edges)


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return (one & other).sum() / (one | other).sum()


def average_precision(detections, objects, in_bin, threshold) -> tuple[float, float] | None:
    """AP and recall of a class from their definition, with masks.

    Args:
        detections: (image id, mask, score).
        objects: (image id, mask, ratio, crowd).
        in_bin: Whether a ratio is in the bin.
    """
    counted = {i for i, (_, _, ratio, crowd) in enumerate(objects) if in_bin(ratio) and not crowd}
    if not counted:
        return None
    matched, correct = set(), []
    for image_id, mask, _ in sorted(detections, key=lambda detection: -detection[2]):
        fits = []
        for i, (place, truth, _, crowd) in enumerate(objects):
            value = (mask & truth).sum() / mask.sum() if crowd else iou(mask, truth)
            if place == image_id and value >= threshold and (crowd or i not in matched):
                fits.append((i in counted, value, i))
        if not fits:
            correct.append(False)
            continue
        is_counted, _, i = max(fits)  # ignored objects come last
        matched.add(i)
        if is_counted:
            correct.append(True)
    hits = np.cumsum(correct)
    recalls, precisions = hits / len(counted), hits / np.arange(1, len(hits) + 1)
    levels = [
        max((p for p, r in zip(precisions, recalls, strict=True) if r >= level), default=0.0)
        for level in np.linspace(0, 1, 101)
    ]
    return float(np.mean(levels)), float(recalls[-1]) if len(recalls) else 0.0


@pytest.mark.parametrize("seed", range(3))
def test_ap_and_ar_are_those_of_their_definition(dataset, make, seed):
    rng = np.random.default_rng(seed)
    images, objects, annotations = 8, {0: [], 1: []}, []
    detections = {0: [], 1: []}
    scores = iter(rng.permutation(1000) / 1024)  # all different, exact in float32

    def draw(low=8):
        return rng.integers((0, 0, low, low), (34, 34, 26, 26))

    for image_id in range(1, images + 1):
        for _ in range(4):
            index, crowd = int(rng.integers(2)), bool(rng.random() < 0.1)
            ratio = float(rng.choice([0.0, 0.2, 0.4, 0.7]))
            x, y, width, height = draw()
            mask = make.rectangle(x, y, width, height)
            more = {} if crowd else {"occlusion_ratio": ratio}
            annotations.append(
                make.annotation(mask, image_id, (3, 7)[index], iscrowd=int(crowd), **more)
            )
            objects[index].append((image_id, mask, ratio, crowd))
            for _ in range(rng.integers(3)):
                moved = np.add((x, y, width, height), rng.integers(-2, 3, 4)).clip(0)
                detections[index].append((image_id, make.rectangle(*moved), next(scores)))
        detections[int(rng.integers(2))].append((image_id, make.rectangle(*draw()), next(scores)))

    outputs = {
        image_id: make.detections(
            *(
                (mask, index, score)
                for index in (0, 1)
                for place, mask, score in detections[index]
                if place == image_id
            )
        )
        for image_id in range(1, images + 1)
    }
    results = evaluate(make, dataset(annotations, images), outputs)
    bins = {
        "all": lambda ratio: True,
        "0": lambda ratio: ratio == 0,
        "0..0.25": lambda ratio: 0 < ratio <= 0.25,
        "0.25..0.5": lambda ratio: 0.25 < ratio <= 0.5,
        "0.5..0.75": lambda ratio: 0.5 < ratio <= 0.75,
    }
    for name, in_bin in bins.items():
        values = [
            average_precision(detections[index], objects[index], in_bin, threshold)
            for index in (0, 1)
            for threshold in IOUS
        ]
        ap, ar = 100 * np.mean([value for value in values if value], axis=0)
        assert 0 < ap < 100
        for task in ("segm_by_occlusion", "bbox_by_occlusion"):  # rectangles are their boxes
            assert results[task][f"AP_{name}"] == pytest.approx(ap)
            assert results[task][f"AR_{name}"] == pytest.approx(ar)
