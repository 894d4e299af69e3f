"""TIDE's kinds of errors, one constructed case each, with the AP50 that fixing it must add."""

from collections import Counter

import pytest

from imted.extras.analysis.matching import image_matches
from imted.extras.analysis.tide import KINDS, find_errors, gains

BOX, OTHER = (10, 10, 20, 20), (60, 60, 20, 20)
NEAR = (22, 10, 20, 20)  # IoU 8 / 32 with BOX


def count(evaluation, threshold=0.0):
    return sum((find_errors(m, threshold).count for m in image_matches(evaluation)), Counter())


# (objects, detections), the kinds, and the dAP of each kind that has one.
CASES = {
    "right": ([(1, 1, BOX)], [(1, 1, BOX, 0.9)], {}, {}),
    "classification": (
        [(1, 1, BOX)],
        [(1, 2, BOX, 0.9)],
        {"classification": 1},
        {"classification": 1.0},
    ),
    "localisation": (
        [(1, 1, BOX)],
        [(1, 1, NEAR, 0.9)],
        {"localisation": 1},
        {"localisation": 1.0},
    ),
    # With an object at OTHER found below it, so that taking the error away is worth something.
    "both": (
        [(1, 1, BOX), (1, 2, OTHER)],
        [(1, 2, NEAR, 0.9), (1, 2, OTHER, 0.8)],
        {"both": 1, "missed": 1},
        # Class 1 is missed (AP 0); class 2 goes from precision 1/2 to 1. Without the missed
        # object, class 1 has none and does not count: (0 + 0.5) / 2 becomes 0.5.
        {"both": 0.25, "missed": 0.25},
    ),
    "duplicate": (
        [(1, 1, BOX), (1, 1, OTHER)],
        [(1, 1, BOX, 0.9), (1, 1, (11, 10, 20, 20), 0.8), (1, 1, OTHER, 0.7)],
        {"duplicate": 1},
        # 101 recalls: 51 at precision 1 (up to .5), 50 at 2/3, which become 1.
        {"duplicate": 50 / 101 / 3},
    ),
    "background": (
        [(1, 1, OTHER)],
        [(1, 1, BOX, 0.9), (1, 1, OTHER, 0.8)],
        {"background": 1},
        {"background": 0.5},
    ),
    "missed": (
        [(1, 1, BOX), (1, 1, OTHER)],
        [(1, 1, OTHER, 0.8)],
        {"missed": 1},
        {"missed": 50 / 101},
    ),
    "crowd": (
        [(1, 1, (0, 0, 50, 50), True), (1, 1, OTHER)],
        [(1, 1, BOX, 0.9), (1, 1, OTHER, 0.8)],
        {},
        {},
    ),
    # The better of two that could be fixed is; the other would then be a duplicate.
    "two at one object": (
        [(1, 1, BOX)],
        [(1, 1, NEAR, 0.9), (1, 1, (22, 11, 20, 20), 0.8)],
        {"localisation": 2},
        {"localisation": 1.0},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_each_kind(evaluated, name):
    objects, detections, kinds, expected = CASES[name]
    _, evaluation = evaluated(objects, detections)
    assert dict(count(evaluation)) == kinds
    found = gains(image_matches(evaluation), 2)
    assert found == pytest.approx({kind: expected.get(kind, 0.0) for kind in KINDS})


def test_below_the_threshold_nothing_is_wrong_but_missed(evaluated):
    _, evaluation = evaluated([(1, 1, BOX)], [(1, 1, NEAR, 0.4)])
    assert dict(count(evaluation, 0.3)) == {"localisation": 1}
    assert dict(count(evaluation, 0.5)) == {"missed": 1}


@pytest.mark.parametrize("seed", range(3))
def test_a_gain_is_none_for_kinds_without_errors(random_run, seed):
    _, evaluation = random_run(seed)
    matches = image_matches(evaluation)
    counted, found = count(evaluation), gains(matches, 3)
    for kind in KINDS:
        assert found[kind] >= -1e-9
        if not counted[kind]:
            assert found[kind] == 0
    # Every detection is right, ignored, or wrong in one way.
    wrong = sum(number for kind, number in counted.items() if kind != "missed")
    unmatched = sum(int((m.match < 0).sum()) for m in matches)
    assert wrong == unmatched
