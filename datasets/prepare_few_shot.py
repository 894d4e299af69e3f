#!/usr/bin/env python
"""Make few-shot data sets: the base classes alone, and K instances of every class, by seed."""

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from imted.data.dataset import datasets_root, read_coco
from imted.data.subsets import seeded_order, select
from imted.errors import UserError, exit_status
from imted.experiments.few_shot import COCO_NOVEL
from imted.outputs import write_json

EPILOG = """\
what it writes
  OUTPUT/base_train.json, OUTPUT/base_val.json   base classes only: for the base training
  OUTPUT/10shot_seed0.json ...                   all classes: for the fine-tuning

Evaluate the fine-tuned detector on the whole validation json. Categories keep their ids. The same
command gives the same files.

examples
  python datasets/prepare_few_shot.py --fsdet datasets/cocosplit
  python datasets/prepare_few_shot.py --json datasets/coco/annotations/instances_train2017.json \\
      --val-json datasets/coco/annotations/instances_val2017.json --shots 10 30 --seeds 0
  python datasets/prepare_few_shot.py --json datasets/shapes/train.json \\
      --val-json datasets/shapes/val.json --novel ring cross --shots 10 --seeds 0 \\
      --output datasets/shapes_few_shot
"""


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--json", help="training annotations in COCO's format, to choose from")
    add("--val-json", help="validation annotations, for base_val.json")
    add("--fsdet", type=Path, metavar="FOLDER",
        help="take FsDet's choice instead: its folder cocosplit")  # fmt: skip
    add("--novel", nargs="+", default=COCO_NOVEL, metavar="NAME",
        help="the novel classes (COCO's 20 that PASCAL VOC has); all others are base")  # fmt: skip
    add("--shots", type=int, nargs="+", default=[1, 2, 3, 5, 10, 30], metavar="K",
        help="instances of each class (%(default)s)")  # fmt: skip
    add("--seeds", type=int, nargs="+", default=list(range(10)), metavar="SEED",
        help="a file each (%(default)s)")  # fmt: skip
    add("--output", type=Path, default=datasets_root() / "coco_few_shot",
        help="folder, in $DETECTRON2_DATASETS by default (%(default)s)")  # fmt: skip
    return parser.parse_args(argv)


def base_part(
    content: dict[str, Any], novel: Sequence[str], source: str, all_images: bool = False
) -> dict[str, Any]:
    """Return what is known of the base classes: their categories, annotations and images.

    Args:
        content: A COCO-format data set.
        novel: Names of the novel classes; all others are base classes.
        source: The file of `content`, for its name.
        all_images: Keep the images without a base object too, as an evaluation must: what is
            found in them is wrong.

    Raises:
        UserError: A novel class isn't among the categories, or no class is left.
    """
    names = [category["name"] for category in content["categories"]]
    absent = [name for name in novel if name not in names]
    if absent:
        raise UserError(
            f"The novel class {absent[0]!r} isn't among the categories of {source} "
            f"({', '.join(names[:8])}{', …' if len(names) > 8 else ''}); name yours with --novel."
        )
    base = [category for category in content["categories"] if category["name"] not in novel]
    if not base:
        raise UserError(f"All categories of {source} are novel; leave some out of --novel.")
    ids = {category["id"] for category in base}
    annotations = [entry for entry in content["annotations"] if entry["category_id"] in ids]
    images = {entry["image_id"] for entry in annotations}
    return select(
        {**content, "categories": base},
        {item["id"] for item in content["images"]} if all_images else images,
        annotations,
        description="base classes",
        source=Path(source).name,
        novel=list(novel),
    )


def choose_shots(content: dict[str, Any], shots: int, seed: int, source: str) -> dict[str, Any]:
    """Choose exactly K instances of every class, and the images that they are in.

    For each class the images that have it are gone through in an order that the seed decides. An
    image gives all of its instances of the class as long as they fit into what is left of K; only
    where too few images do is one taken in part. Crowds and boxes without an area are no
    instances. Whatever else an image shows is not annotated.

    Args:
        content: A COCO-format data set.
        shots: K.
        seed: Seeds the choice.
        source: The file of `content`, for its name.

    Raises:
        UserError: A class has fewer than K instances, or K is less than 1.
    """
    if shots < 1:
        raise UserError(f"The number of shots is {shots}; give a positive number.")
    instances: dict[int, dict[int, list]] = defaultdict(lambda: defaultdict(list))
    for entry in content["annotations"]:
        if not entry.get("iscrowd"):
            instances[entry["category_id"]][entry["image_id"]].append(entry)
    chosen = []
    for category in sorted(content["categories"], key=lambda category: category["id"]):
        by_image = instances[category["id"]]
        whole: list[dict] = []
        rest: list[dict] = []
        for image_id in seeded_order(by_image, seed, category["id"]):
            found = by_image[image_id]
            (whole if len(whole) + len(found) <= shots else rest).extend(found)
        if len(whole) + len(rest) < shots:
            raise UserError(
                f"{source} has {len(whole) + len(rest)} instances of {category['name']!r} that "
                f"aren't crowds; {shots} shots need as many, so ask for fewer."
            )
        chosen += whole + rest[: shots - len(whole)]
    return _shots(content, chosen, shots, seed, source)


def read_fsdet_shots(
    folder: Path, content: dict[str, Any], shots: int, seed: int
) -> dict[str, Any]:
    """Join the files of one seed and K, one a class, of FsDet's `cocosplit`.

    Args:
        folder: `cocosplit` itself; seed 0 lies in it, the others in `seed1` to `seed9`.
        content: Its `datasplit/trainvalno5k.json`, for categories and images.
        shots: K.
        seed: 0 to 9.

    Raises:
        UserError: A file is missing or hasn't exactly K instances of its class.
    """
    place = folder / f"seed{seed}" if seed else folder
    chosen = []
    for category in sorted(content["categories"], key=lambda category: category["id"]):
        path = place / f"full_box_{shots}shot_{category['name']}_trainval.json"
        found = [
            entry
            for entry in read_coco(str(path))["annotations"]
            if entry["category_id"] == category["id"] and not entry.get("iscrowd")
        ]
        if len(found) != shots:
            raise UserError(f"{path} has {len(found)} instances of {category['name']!r}.")
        chosen += found
    return _shots(content, chosen, shots, seed, str(folder))


def _shots(
    content: dict[str, Any], chosen: list[dict], shots: int, seed: int, source: str
) -> dict[str, Any]:
    repeated = [key for key, count in Counter(entry["id"] for entry in chosen).items() if count > 1]
    if repeated:
        raise UserError(f"{source}: several annotations have the id {repeated[0]}.")
    images = {entry["image_id"] for entry in chosen}
    unknown = images - {image["id"] for image in content["images"]}
    if unknown:
        raise UserError(f"{source}: annotations name the image {min(unknown)}, which isn't there.")
    return select(
        content,
        images,
        chosen,
        description="instances of every class",
        source=Path(source).name,
        shots=shots,
        seed=seed,
    )


@exit_status
def main(argv: list[str] | None = None) -> None:
    """Write what was asked for, and say how much of it there is."""
    arguments = parse_arguments(argv)
    fsdet = arguments.fsdet
    if (fsdet is None) == (arguments.json is None):
        raise UserError("Give either --json or --fsdet.")
    if fsdet is not None:
        train, val = (str(fsdet / f"datasplit/{n}.json") for n in ("trainvalno5k", "5k"))
    else:
        train, val = arguments.json, arguments.val_json
    content = read_coco(train)
    _write(base_part(content, arguments.novel, train), arguments.output / "base_train.json")
    if val is not None:
        base_val = base_part(read_coco(val), arguments.novel, val, all_images=True)
        _write(base_val, arguments.output / "base_val.json")
    for seed in arguments.seeds:
        for shots in arguments.shots:
            if fsdet is not None:
                chosen = read_fsdet_shots(fsdet, content, shots, seed)
            else:
                chosen = choose_shots(content, shots, seed, train)
            _write(chosen, arguments.output / f"{shots}shot_seed{seed}.json")


def _write(content: dict, path: Path) -> None:
    write_json(content, path)
    counts = f"{len(content['images'])} images, {len(content['annotations'])} annotations"
    print(f"{path}: {len(content['categories'])} classes, {counts}")


if __name__ == "__main__":
    sys.exit(main())
