"""Large images in overlapping tiles, and the objects of all tiles as objects of the image."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from detectron2.layers import batched_nms
from detectron2.structures import Boxes, Instances
from torchvision.ops import box_iou, clip_boxes_to_image

from .detections import encode_mask

SAME_OBJECT = 0.5
"""IoU from which two tiles' boxes, where both tiles look, are one object."""


@dataclass(frozen=True)
class Window:
    """A rectangle of an image in pixels; `right` and `bottom` are outside."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Its rows and columns in an array (H, W, …)."""
        return slice(self.top, self.bottom), slice(self.left, self.right)


def tile_windows(height: int, width: int, tile: int, overlap: int) -> list[Window]:
    """Return the whole image, where larger objects are, and tiles that cover it.

    It is alone if no side is longer than a tile. Neighbours share at least `overlap` pixels.
    """
    whole = Window(0, 0, width, height)
    tops, lefts = (_starts(side, tile, overlap) for side in (height, width))
    if len(tops) == len(lefts) == 1:
        return [whole]
    tiles = [
        Window(left, top, min(left + tile, width), min(top + tile, height))
        for top in tops
        for left in lefts
    ]
    return [whole, *tiles]


def _starts(side: int, tile: int, overlap: int) -> list[int]:
    """Spread as few tiles as cover a side evenly over it."""
    if side <= tile:
        return [0]
    number = -(-(side - overlap) // (tile - overlap))
    return [round(i * (side - tile) / (number - 1)) for i in range(number)]


def merge_tiles(
    windows: Sequence[Window],
    found: Sequence[Instances],
    image_size: tuple[int, int],
    nms_threshold: float,
) -> Instances:
    """Put the detections of all windows into one image.

    Where two windows overlap, both see the same pixels. Detections of one class are one object if
    what of their boxes lies there agrees; so the two halves of an object that a tile's border
    cuts become one, with the union of boxes and masks and the higher score, and neighbours that
    only touch stay two.

    Args:
        windows: Rectangles of the image.
        found: What was detected in each, in its own coordinates.
        image_size: Height and width of the image.
        nms_threshold: IoU above which the lower score of two objects of a class is dropped.

    Returns:
        `pred_boxes`, `scores`, `pred_classes` and, where all have masks, `pred_masks` as an array
        of COCO RLEs; by descending score.
    """
    boxes = torch.cat(
        [
            instances.pred_boxes.tensor + torch.tensor([w.left, w.top, w.left, w.top])
            for w, instances in zip(windows, found, strict=True)
        ]
    )
    scores = torch.cat([instances.scores for instances in found])
    classes = torch.cat([instances.pred_classes for instances in found])
    window_of = torch.arange(len(windows)).repeat_interleave(torch.tensor([len(i) for i in found]))
    labels = _components(boxes, classes, window_of, windows)
    objects = [np.flatnonzero(labels == label) for label in range(labels.max(initial=-1) + 1)]
    united = torch.stack(
        [torch.cat([boxes[o, :2].amin(0), boxes[o, 2:].amax(0)]) for o in objects]
    ) if objects else boxes  # fmt: skip
    best = torch.stack([scores[o].max() for o in objects]) if objects else scores
    kinds = torch.stack([classes[o[0]] for o in objects]) if objects else classes
    kept = batched_nms(united, best, kinds, nms_threshold)
    merged = Instances(
        image_size, pred_boxes=Boxes(united[kept]), scores=best[kept], pred_classes=kinds[kept]
    )
    if all(instances.has("pred_masks") for instances in found):
        starts = np.cumsum([0, *(len(instances) for instances in found)])
        rles = np.empty(len(kept), dtype=object)
        for i, label in enumerate(kept.tolist()):
            canvas = np.zeros(image_size, dtype=bool)
            for member in objects[label]:
                w = int(window_of[member])
                mask = found[w].pred_masks[member - starts[w]].numpy()
                canvas[windows[w].slices] |= mask
            rles[i] = encode_mask(canvas)
        merged.pred_masks = rles
    return merged


def _components(
    boxes: torch.Tensor, classes: torch.Tensor, window_of: torch.Tensor, windows: Sequence[Window]
) -> np.ndarray:
    """Return for each detection the number of the object that it belongs to."""
    # SciPy takes as long to import as a detector to build, and only an image in tiles needs it.
    from scipy.optimize import linear_sum_assignment
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    pairs = [np.empty((2, 0), dtype=int)]
    for (a, one), (b, other) in combinations(enumerate(windows), 2):
        left, top = max(one.left, other.left), max(one.top, other.top)
        right, bottom = min(one.right, other.right), min(one.bottom, other.bottom)
        if left >= right or top >= bottom:
            continue
        in_a, in_b = (torch.nonzero(window_of == w).flatten() for w in (a, b))
        origin, size = torch.tensor([left, top, left, top]), (bottom - top, right - left)
        parts = [clip_boxes_to_image(boxes[i] - origin, size) for i in (in_a, in_b)]
        iou = box_iou(*parts).nan_to_num()
        iou[classes[in_a][:, None] != classes[in_b]] = 0
        # One detection of a window is one object, so each has at most one partner in another.
        first, second = linear_sum_assignment(-iou.numpy())
        agree = iou.numpy()[first, second] >= SAME_OBJECT
        pairs.append(np.stack([in_a.numpy()[first[agree]], in_b.numpy()[second[agree]]]))
    number = len(boxes)
    edges = np.concatenate(pairs, axis=1)
    graph = coo_array((np.ones(edges.shape[1]), (edges[0], edges[1])), shape=(number, number))
    return connected_components(graph, directed=False)[1]
