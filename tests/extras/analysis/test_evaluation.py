import copy
import json
from contextlib import redirect_stdout

import numpy as np
import pytest

from imted.errors import UserError
from imted.extras.analysis.bootstrap import (
    _difference,
    compare,
    draw,
    resampled_average_precisions,
)
from imted.extras.analysis.confusion import confusion_matrix
from imted.extras.analysis.curves import f1_curves, precision_curves
from imted.extras.analysis.evaluation import (
    METRICS,
    average_precisions,
    by_class,
    evaluate,
    mean_of_known,
)
from imted.extras.analysis.inputs import Truth, read_predictions, require_same
from imted.extras.analysis.matching import image_matches


def metric(evaluation, name):
    return float(mean_of_known(by_class(average_precisions(evaluation), name)))


@pytest.mark.parametrize("seed", range(3))
def test_metrics_are_cocos(random_run, seed):
    _, evaluation = random_run(seed)
    with redirect_stdout(None):
        evaluation.summarize()
    ours = [metric(evaluation, name) for name in METRICS]
    expected = np.where(evaluation.stats < 0, np.nan, evaluation.stats)[:6]
    assert ours == pytest.approx(expected.tolist(), nan_ok=True)
    curves = precision_curves(evaluation, 0.5)
    assert curves[-1].mean() == pytest.approx(evaluation.stats[1])


@pytest.mark.parametrize("seed", range(3))
def test_images_drawn_k_times_count_as_k_copies(random_run, seed):
    """COCO's own evaluation of a data set with copies of images is the independent statement."""
    truth, evaluation = random_run(seed, ties=False)  # whose order copies would change
    counts = draw(len(evaluation.params.imgIds), 5, seed)
    ap = resampled_average_precisions(evaluation, counts)
    predictions = [
        {k: p[k] for k in ("image_id", "category_id", "bbox", "score")}
        for p in evaluation.cocoDt.anns.values()
    ]
    for row, expected in zip(counts, ap, strict=True):
        copied, found, number = copy.deepcopy(truth.coco.dataset), [], 0
        copied["images"], copied["annotations"] = [], []
        for image, times in zip(truth.coco.dataset["images"], row, strict=True):
            for _ in range(times):
                number += 1
                copied["images"].append({**image, "id": number})
                for a in truth.coco.dataset["annotations"]:
                    if a["image_id"] == image["id"]:
                        key = len(copied["annotations"]) + 1
                        copied["annotations"].append({**a, "id": key, "image_id": number})
                found += [
                    {**p, "image_id": number} for p in predictions if p["image_id"] == image["id"]
                ]
        again = evaluate(Truth.of("copy", "", copied).coco, found, "bbox")
        np.testing.assert_allclose(expected, average_precisions(again), atol=1e-9)


def test_the_whole_set_once_is_cocos_ap(random_run):
    _, evaluation = random_run(1)
    once = np.ones((1, len(evaluation.params.imgIds)), dtype=int)
    ap = resampled_average_precisions(evaluation, once)[0]
    np.testing.assert_allclose(ap, average_precisions(evaluation), atol=1e-9)


def test_a_run_does_not_differ_from_itself(random_run):
    _, evaluation = random_run()
    metrics, classes = compare(evaluation, evaluation, num_resamples=50)
    assert (metrics["AP"].value, metrics["AP"].low, metrics["AP"].high) == (0, 0, 0)
    assert not metrics["AP"].excludes_zero
    assert len(classes) == 3


def test_a_better_run_is_told_from_a_worse_one(random_run):
    (_, worse), (_, better) = random_run(0, images=40), random_run(0, images=40, noise=0.0)
    metrics, _ = compare(worse, better, num_resamples=200)
    ap = metrics["AP"]
    assert ap.low <= ap.value <= ap.high and ap.excludes_zero and ap.value > 0
    other_way, _ = compare(better, worse, num_resamples=200)
    assert other_way["AP"].low == pytest.approx(-ap.high)


def test_the_interval_has_95_of_100_draws():
    changes = np.random.default_rng(0).permutation(np.arange(1001.0))
    found = _difference(1.0, 3.0, changes)
    assert (found.value, found.low, found.high) == pytest.approx((2, 25, 975))


def test_the_best_threshold_by_trying_all(random_run):
    _, evaluation = random_run(2)
    matches = image_matches(evaluation)
    for k, curve in enumerate(f1_curves(evaluation)[:-1]):
        tried = {}
        objects = sum(int(((m.object_classes == k) & ~m.crowd).sum()) for m in matches)
        for threshold in {float(s) for m in matches for s in m.scores[m.classes == k]}:
            right = wrong = 0
            for m in matches:
                for d in np.flatnonzero((m.classes == k) & (m.scores >= threshold)):
                    if m.match[d] < 0:
                        wrong += 1
                    elif not m.crowd[m.match[d]]:
                        right += 1
            if right + wrong:
                precision, recall = right / (right + wrong), right / objects
                total = precision + recall
                tried[threshold] = 2 * precision * recall / total if total else 0.0
        assert curve.best["f1"] == pytest.approx(max(tried.values()))
        assert tried[curve.best["score"]] == pytest.approx(curve.best["f1"])


def test_confusion_by_hand(evaluated):
    objects = [
        (1, 1, (0, 0, 20, 20)),  # taken for a bee
        (1, 2, (50, 50, 20, 20)),  # found
        (2, 1, (10, 10, 20, 20)),  # not found
        (2, 1, (50, 50, 40, 40), True),  # a crowd
    ]
    detections = [
        (1, 2, (0, 0, 20, 20), 0.9),
        (1, 1, (0, 0, 20, 18), 0.8),  # the object is taken already
        (1, 2, (50, 50, 20, 20), 0.7),
        (2, 2, (70, 0, 20, 20), 0.6),  # at no object
        (2, 2, (60, 60, 10, 10), 0.6),  # in the crowd
        (2, 1, (10, 10, 20, 20), 0.1),  # below the threshold
    ]
    _, evaluation = evaluated(objects, detections)
    matrix = confusion_matrix(image_matches(evaluation), 2, threshold=0.5)
    assert matrix.tolist() == [[0, 1, 1], [0, 1, 0], [1, 1, 0]]


def test_nothing_found_and_nothing_there(evaluated):
    _, evaluation = evaluated([(1, 1, (0, 0, 20, 20))], [])
    assert metric(evaluation, "AP") == 0
    assert [c.best for c in f1_curves(evaluation)] == [None] * 3
    _, evaluation = evaluated([], [(1, 1, (0, 0, 20, 20), 0.5)])
    assert np.isnan(metric(evaluation, "AP"))
    metrics, _ = compare(evaluation, evaluation, num_resamples=5)
    assert np.isnan(metrics["AP"].value) and not metrics["AP"].excludes_zero


def test_runs_on_other_val_sets_are_not_compared(truth_of):
    one = truth_of([(1, 1, (0, 0, 20, 20))])
    require_same(one, truth_of([(1, 1, (0, 0, 20, 20))]))
    for other, word in (
        (truth_of([(1, 1, (0, 0, 20, 20))], images=3), "images"),
        (truth_of([(1, 1, (0, 0, 20, 20))], classes=("ant", "wasp")), "categories"),
        (truth_of([(1, 1, (0, 0, 20, 21))]), "annotations"),
    ):
        with pytest.raises(UserError, match=f"differ in their {word}"):
            require_same(one, other)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"image_id": 9}, "of image 9, which val.json does not have"),
        ({"category_id": 9}, "of category 9, which val.json does not have"),
        ({"image_id": "1"}, "of image '1'"),
        ({"score": float("nan")}, "whose score is nan"),
        ({"score": None}, "whose score is None"),
        ({"bbox": [1, 2, 3]}, "not four numbers"),
    ],
)
def test_predictions_of_something_else(truth_of, predictions_of, tmp_path, changes, sentence):
    prediction = {**predictions_of([(1, 1, (0, 0, 9, 9), 0.5)])[0], **changes}
    (tmp_path / "results.json").write_text(json.dumps([prediction]))
    with pytest.raises(UserError, match=sentence):
        read_predictions(str(tmp_path / "results.json"), truth_of([]), "bbox")


def test_masks_where_there_are_none(truth_of, tmp_path):
    (tmp_path / "results.json").write_text("[]")
    with pytest.raises(UserError, match="has no masks; analyse boxes"):
        read_predictions(str(tmp_path / "results.json"), truth_of([]), "segm")
