import itertools

import numpy as np
import pycocotools.mask
import pytest
import torch
from detectron2.structures import Boxes, Instances

from imted.predict.tiles import merge_tiles, tile_windows


def see(window, objects, masks=True, least=4):
    """What a perfect detector finds in a window: the visible part of each object."""
    boxes, classes, scores, bitmaps = [], [], [], []
    for box, kind, score in objects:
        left, top = max(box[0], window.left), max(box[1], window.top)
        right, bottom = min(box[2], window.right), min(box[3], window.bottom)
        if right - left < least or bottom - top < least:
            continue
        visible = [left - window.left, top - window.top, right - window.left, bottom - window.top]
        boxes.append(visible)
        classes.append(kind)
        share = (right - left) * (bottom - top) / ((box[2] - box[0]) * (box[3] - box[1]))
        scores.append(score * share)
        bitmap = torch.zeros(window.bottom - window.top, window.right - window.left).bool()
        bitmap[visible[1] : visible[3], visible[0] : visible[2]] = True
        bitmaps.append(bitmap)
    size = (window.bottom - window.top, window.right - window.left)
    instances = Instances(size)
    instances.pred_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
    instances.scores = torch.tensor(scores)
    instances.pred_classes = torch.tensor(classes, dtype=torch.int64)
    if masks:
        instances.pred_masks = (
            torch.stack(bitmaps) if bitmaps else torch.zeros((0, *size), dtype=torch.bool)
        )
    return instances


def merged_boxes(objects, height=300, width=500, tile=128, overlap=48, **kwargs):
    windows = tile_windows(height, width, tile, overlap)
    found = [see(window, objects, **kwargs) for window in windows]
    return merge_tiles(windows, found, (height, width), 0.5)


@pytest.mark.parametrize("size", [(128, 500), (300, 129), (1000, 777), (129, 129)])
@pytest.mark.parametrize("overlap", [0, 48, 100])
def test_tiles_cover_the_image_and_overlap(size, overlap):
    whole, *tiles = tile_windows(*size, 128, overlap)
    assert (whole.left, whole.top, whole.bottom, whole.right) == (0, 0, *size)
    seen = np.zeros(size, dtype=int)
    for tile in tiles:
        assert tile.bottom - tile.top == min(128, size[0])
        assert tile.right - tile.left == min(128, size[1])
        seen[tile.slices] += 1
    assert seen.min() >= 1
    lefts = sorted({tile.left for tile in tiles})
    assert all(128 - (b - a) >= overlap for a, b in itertools.pairwise(lefts))


def test_an_image_no_larger_than_a_tile_is_one_window():
    assert len(tile_windows(128, 90, 128, 48)) == 1


@pytest.mark.parametrize("seed", range(4))
def test_each_object_comes_out_once_and_whole(seed):
    """Objects at random on a grid, so that none overlap; many are cut by tiles."""
    generator = np.random.default_rng(seed)
    objects = []
    for y in range(0, 300, 100):
        for x in range(0, 500, 100):
            width, height = generator.integers(20, 90, 2)
            left, top = x + generator.integers(100 - width), y + generator.integers(100 - height)
            box = [int(v) for v in (left, top, left + width, top + height)]
            objects.append((box, int(generator.integers(3)), 0.5 + 0.5 * generator.random()))
    merged = merged_boxes(objects)
    expected = sorted(box for box, *_ in objects)
    assert sorted(merged.pred_boxes.tensor.int().tolist()) == expected
    assert merged.scores.max() == pytest.approx(max(score for *_, score in objects))
    for box, rle in zip(merged.pred_boxes.tensor.int().tolist(), merged.pred_masks, strict=True):
        mask = np.zeros((300, 500), np.uint8)
        mask[box[1] : box[3], box[0] : box[2]] = 1
        assert np.array_equal(pycocotools.mask.decode(rle), mask)


def test_an_object_larger_than_a_tile_is_one():
    merged = merged_boxes([([10, 10, 490, 280], 1, 0.9)])
    assert merged.pred_boxes.tensor.tolist() == [[10, 10, 490, 280]]
    assert merged.scores.tolist() == pytest.approx([0.9])


def test_an_object_that_tiles_alone_see_is_still_one():
    """The whole image is shown to the detector in small; it misses what is small there."""
    objects = [([100, 100, 190, 160], 0, 0.8)]
    windows = tile_windows(300, 500, 128, 48)
    found = [see(w, objects if i else []) for i, w in enumerate(windows)]
    merged = merge_tiles(windows, found, (300, 500), 0.5)
    assert merged.pred_boxes.tensor.tolist() == [[100, 100, 190, 160]]


def test_neighbours_of_a_class_stay_two_and_so_do_classes_in_one_place():
    objects = [
        ([60, 60, 100, 100], 0, 0.9),
        ([100, 60, 140, 100], 0, 0.8),  # touches the first, and the border of a tile cuts it
        ([60, 60, 100, 100], 1, 0.7),
    ]
    merged = merged_boxes(objects)
    found = zip(merged.pred_boxes.tensor.tolist(), merged.pred_classes.tolist(), strict=True)
    assert sorted(found) == sorted((box, kind) for box, kind, _ in objects)


def test_a_smaller_object_inside_a_larger_one_stays():
    objects = [([20, 20, 220, 220], 0, 0.9), ([80, 80, 130, 130], 0, 0.8)]
    merged = merged_boxes(objects)
    assert sorted(merged.pred_boxes.tensor.tolist()) == sorted(box for box, *_ in objects)


def test_nothing_found():
    merged = merged_boxes([])
    assert len(merged) == 0 and merged.has("pred_masks")
    assert len(merged_boxes([], masks=False)) == 0


def test_a_detector_without_masks():
    merged = merged_boxes([([100, 100, 190, 160], 0, 0.8)], masks=False)
    assert len(merged) == 1 and not merged.has("pred_masks")


def test_an_object_has_the_highest_score_that_a_window_gave_it():
    """The whole image, which comes first, sees it in small and is less sure."""
    box = [100, 100, 190, 160]
    windows = tile_windows(300, 500, 128, 48)
    found = [see(w, [(box, 0, 0.9 if i else 0.4)]) for i, w in enumerate(windows)]
    merged = merge_tiles(windows, found, (300, 500), 0.5)
    seen = [score for instances in found for score in instances.scores.tolist()]
    assert seen[0] == pytest.approx(0.4) and max(seen) > 0.45
    assert merged.scores.tolist() == pytest.approx([max(seen)])


@pytest.mark.parametrize(("threshold", "left"), [(0.5, [0.9]), (0.7, [0.9, 0.8])])
def test_two_boxes_of_one_window_are_told_apart_by_nms(threshold, left):
    windows = tile_windows(100, 100, 128, 48)
    assert len(windows) == 1
    objects = [([0, 0, 80, 40], 0, 0.9), ([20, 0, 100, 40], 0, 0.8)]  # IoU 60 / 100
    merged = merge_tiles(windows, [see(windows[0], objects)], (100, 100), threshold)
    assert merged.scores.tolist() == pytest.approx(left)
