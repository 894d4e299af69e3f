"""One data set into two, by seed, with every class in both in the same proportion."""

from collections import Counter
from typing import Any

from imted.data.subsets import seeded_order, select
from imted.errors import UserError


def split_dataset(
    content: dict[str, Any], val_fraction: float, seed: int, source: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split a COCO data set into train and val, stratified by class.

    Iterative stratification (Sechidis et al., 2011): the images of the rarest class are dealt
    first, each to the part that lacks most objects of that class; then those of the next. Images
    without objects are dealt last, by number.

    Args:
        content: The data set; left as it is.
        val_fraction: Part of the images, and of each class's objects, that val is to have.
        seed: Decides the order in which images are dealt.
        source: The data set's file, for errors.

    Raises:
        UserError: The fraction isn't between 0 and 1, or there are too few images.
    """
    if not 0 < val_fraction < 1:
        raise UserError(f"--val-fraction is {val_fraction}; it must be above 0 and below 1.")
    images = seeded_order((image["id"] for image in content["images"]), seed)
    if len(images) < 2:
        raise UserError(f"{source} has {len(images)} images; a split needs 2 or more.")
    counts: dict[int, Counter[int]] = {number: Counter() for number in images}
    for entry in content["annotations"]:
        counts[entry["image_id"]][entry["category_id"]] += 1
    in_val = _deal(images, counts, val_fraction)
    parts = []
    for chosen in (set(images) - in_val, in_val):
        entries = [entry for entry in content["annotations"] if entry["image_id"] in chosen]
        parts.append(select(content, chosen, entries, source=source, seed=seed))
    return parts[0], parts[1]


def _deal(images: list[int], counts: dict[int, Counter[int]], fraction: float) -> set[int]:
    """Return the images of val."""
    shares = (1 - fraction, fraction)
    totals = sum(counts.values(), Counter())
    wanted = [Counter({k: total * share for k, total in totals.items()}) for share in shares]
    room = [len(images) * share for share in shares]
    parts: tuple[set[int], set[int]] = (set(), set())
    rest = list(images)
    while rest:
        left = Counter(kind for number in rest for kind in counts[number])
        rarest = min(left, key=lambda kind: (left[kind], kind)) if left else None
        dealt = [n for n in rest if rarest is None or counts[n][rarest]]
        for number in dealt:
            part = max((0, 1), key=lambda p: (0 if rarest is None else wanted[p][rarest], room[p]))
            parts[part].add(number)
            room[part] -= 1
            wanted[part].subtract(counts[number])
        rest = [number for number in rest if number not in parts[0] | parts[1]]
    if not parts[0] or not parts[1]:  # of very few images one part may get none
        giver = 0 if parts[0] else 1
        moved = max(parts[giver])
        parts[giver].discard(moved)
        parts[1 - giver].add(moved)
    return parts[1]
