"""Extend a detector to more classes: base.pth of the base classes becomes one of all classes.

Kept are the rows of the base classes, by name, and of the background: scores, box regressors and
masks. The others start at random. `train.init_checkpoint` of the fine-tuning takes the result.
"""

import argparse
import sys
from dataclasses import replace

from imted.checkpoint import read_description, read_state_dict, save_state_dict
from imted.checkpoint.classes import extend_classes
from imted.data import read_coco
from imted.data.coco_json import categories_of
from imted.errors import exit_status


@exit_status
def main(argv: list[str] | None = None) -> None:
    """Write the extended detector, and say what was kept."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", help="the detector of the base classes, a path or URL")
    parser.add_argument("output", help="a .pth or .safetensors file")
    parser.add_argument("--base-json", required=True, help="what it was trained on")
    parser.add_argument("--json", required=True, help="what it is to be trained on")
    parser.add_argument(
        "--new-boxes",
        action="store_true",
        help="start all box regressors anew, as imTED's released code does",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the new rows (%(default)s)")
    args = parser.parse_args(argv)
    weights = read_state_dict(args.checkpoint, field="checkpoint")
    description = read_description(args.checkpoint, field="checkpoint")
    known, names = (
        categories_of(read_coco(path, "categories")) for path in (args.base_json, args.json)
    )
    base, classes = list(known.values()), list(names.values())
    weights = extend_classes(weights, base, classes, args.checkpoint, args.new_boxes, args.seed)
    if description is not None:
        description = replace(description, classes=tuple(classes), category_ids=tuple(names))
    save_state_dict(weights, args.output, description)
    new = [name for name in classes if name not in base]
    print(f"Kept: {len(base)} classes and the background. New: {', '.join(new) or 'none'}.")
    if args.new_boxes:
        print("All box regressors start anew.")
    print(f"The weights are in {args.output}")


if __name__ == "__main__":
    sys.exit(main())
