#!/usr/bin/env python
"""Make few-shot data sets: the base classes alone, and K instances of every class, by seed."""

import argparse
import sys
from pathlib import Path

from imted.atomic import write_json
from imted.data.dataset import datasets_root, read_coco
from imted.errors import UserError, exit_status
from imted.experiments.few_shot.data import COCO_NOVEL, base_part, choose_shots, read_fsdet_shots

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
