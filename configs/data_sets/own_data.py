"""The small sets that docs/own_data.md measures on: what is there of them, a sweep runs on.

Each has a folder with train.json, val.json and its images.
"""

from ..common.constants import DATASETS

_NAMES = ("bccd", "nuclei", "raccoons", "road_signs", "voc_animals")


def _in_folder(folder: str) -> list[str]:
    return [
        *(f"dataset.{split}_json={folder}/{split}.json" for split in ("train", "val")),
        *(f"dataset.{split}_images={folder}/images" for split in ("train", "val")),
    ]


sets = {name: _in_folder(f"{DATASETS}/own_data/{name}") for name in _NAMES}
