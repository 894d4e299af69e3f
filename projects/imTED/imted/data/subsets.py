"""Parts of a COCO-format data set, chosen by seed."""

import hashlib
from collections.abc import Iterable
from typing import Any


def seeded_order(ids: Iterable[int], *seed: int) -> list[int]:
    """Put ids in an order that looks random.

    The rank of an id among others depends on it and the seed alone: not on the order or the number
    of the others, nor on the version of a library.

    Args:
        ids: What to order, all different.
        seed: One or more numbers.
    """

    def key(item: int) -> str:
        return hashlib.sha256(" ".join(map(str, (*seed, item))).encode()).hexdigest()

    return sorted(ids, key=key)


def select(
    content: dict[str, Any], image_ids: set[int], annotations: list[dict], **info: Any
) -> dict[str, Any]:
    """Return a data set of some images and annotations with all categories.

    Args:
        content: The whole COCO-format data set; left as it is.
        image_ids: Ids of the images to keep; they keep their order.
        annotations: The annotations to keep.
        **info: What the json's "info" says of the choice.
    """
    return {
        "info": info,
        "licenses": content.get("licenses", []),
        "images": [image for image in content["images"] if image["id"] in image_ids],
        "annotations": annotations,
        "categories": content["categories"],
    }
