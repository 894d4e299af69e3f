"""Low-shot data sets: a part of the images, with all that is annotated in them."""

from pathlib import Path
from typing import Any

from imted.data.subsets import seeded_order, select
from imted.errors import UserError


def choose_images(
    content: dict[str, Any], percent: float, seed: int, source: str
) -> dict[str, Any]:
    """Choose a percentage of the images; those of one seed contain one another.

    Args:
        content: A COCO-format data set.
        percent: Part of the images, above 0 and up to 100; their number is rounded, and at least 1.
        seed: Seeds the choice.
        source: The file of `content`, for its name.

    Raises:
        UserError: The percentage is out of range, or there are no images.
    """
    if not 0 < percent <= 100:
        raise UserError(f"The percentage is {percent:g}; give more than 0 and at most 100.")
    if not content["images"]:
        raise UserError(f"{source} has no images to choose from.")
    ids = seeded_order((image["id"] for image in content["images"]), seed)
    chosen = set(ids[: max(1, round(len(ids) * percent / 100))])
    return select(
        content,
        chosen,
        [entry for entry in content["annotations"] if entry["image_id"] in chosen],
        description="a part of the images",
        source=Path(source).name,
        percent=percent,
        seed=seed,
    )
