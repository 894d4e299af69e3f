#!/usr/bin/env python
"""Make the lists of occluded and of separated objects whose recall configs/occlusion reports."""

import argparse
import math
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.utils.file_io import PathManager
from pycocotools import mask as coco_mask

from imted.data.dataset import datasets_root, read_coco
from imted.errors import UserError, exit_status
from imted.experiments.occlusion.data import (
    LISTS,
    OccludedObject,
    add_ratios,
    derive_lists,
    write_list,
)
from imted.outputs import write_json

EPILOG = """\
what it writes
  OUTPUT/occluded.json      objects with a hidden part whose visible mask is connected
  OUTPUT/separated.json     objects with a hidden part whose visible mask is in several pieces
  OUTPUT/annotations.json   derive, if the json has objects without an occlusion_ratio: a copy in
                            which each has one; the missing ones are estimates

published: the lists of Zhan et al. (BMVC 2022) on COCO val2017, occluded_coco.pkl and
separated_coco.pkl from https://www.robots.ox.ac.uk/~vgg/research/tpod/datasets. They are read as
data: nothing in them is executed.

derive: lists from the masks of any COCO json. Objects whose occlusion_ratio (the synthetic shapes
have it) is above 0 are hidden. For others it is estimated: the part of the convex hull of the
visible mask that is covered by other objects' masks. That is an approximation, and not the
published algorithm, which completes hidden shapes by a network. A mask is in several pieces if two
of them have 5 % of its pixels or more.

examples
  python datasets/prepare_occlusion.py published \\
      --occluded occluded_coco.pkl --separated separated_coco.pkl
  python datasets/prepare_occlusion.py derive --json datasets/shapes/val.json
"""

UNKNOWN_RATIO = "NAN"
"""What the lists have in place of a ratio that their authors could not tell."""


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    published = commands.add_parser("published", help="convert the published lists")
    for name in LISTS:
        published.add_argument(f"--{name}", required=True, metavar="PKL", help=f"{name}_coco.pkl")
    derive = commands.add_parser("derive", help="derive lists from the masks of a COCO json")
    derive.add_argument("--json", required=True, help="annotations in COCO format, with masks")
    for command, folder in ((published, "occluded_coco"), (derive, "occlusion")):
        command.add_argument("--output", type=Path, default=datasets_root() / folder,
            help="folder, in $DETECTRON2_DATASETS by default (%(default)s)")  # fmt: skip
    return parser.parse_args(argv)


def read_published_list(path: str) -> list[OccludedObject]:
    """Read `occluded_coco.pkl` or `separated_coco.pkl`.

    Each is a list of items [file name, class, annotation id, box, mask as RLE, ratio]. The box is
    left out: one list has it as XYWH, the other as XYXY, and the mask has it too. The metric reads
    no ratio: where an item ends before it, it is unknown.

    Raises:
        UserError: The file is missing, would have to execute something, or is no such list.
    """
    if not PathManager.isfile(path):
        raise UserError(f"{path}: there is no such list; download it first.")
    with PathManager.open(path, "rb") as file:
        try:
            content = _DataUnpickler(file).load()
        except UserError as error:
            raise UserError(f"{path} {error}") from None
        except Exception as error:  # a damaged pickle fails in any way
            raise UserError(f"{path} is no pickle of plain data ({error}).") from error
    if not isinstance(content, list):
        raise UserError(f"{path} holds a {type(content).__name__}; give a published list.")
    return [_object(item, f"{path}: item {number}") for number, item in enumerate(content)]


def _object(item: Any, name: str) -> OccludedObject:
    try:
        item = (*item, UNKNOWN_RATIO) if len(item) == 5 else item
        file_name, category, annotation_id, _, rle, ratio = item
        counts = rle["counts"]
        counts = counts.decode("ascii") if isinstance(counts, bytes) else counts
        segmentation = {"size": [int(side) for side in rle["size"]], "counts": counts}
        area = int(coco_mask.area(segmentation))
        ratio = math.nan if ratio == UNKNOWN_RATIO else float(ratio)
        annotation_id = int(annotation_id)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise UserError(
            f"{name} is not [file name, class, annotation id, box, RLE, ratio] ({error!r})."
        ) from error
    if not isinstance(file_name, str) or not isinstance(category, str) or not area:
        raise UserError(f"{name} is missing the name of its image or class, or its mask is empty.")
    return OccludedObject(
        file_name, category, annotation_id, segmentation, None if math.isnan(ratio) else ratio
    )


class _DataUnpickler(pickle.Unpickler):
    """Unpickle data; a UserError for everything else.

    A pickle is a program; Python's own reader runs it. This one makes lists, tuples, dicts, text,
    bytes and numbers. Of everything that a pickle may call by name it knows NumPy's numbers and
    numeric arrays alone, and has its own functions for them: nothing in the file decides what is
    executed.
    """

    def find_class(self, module: str, name: str) -> Callable:
        module = module.replace("numpy._core", "numpy.core")  # as NumPy 2 calls it
        if (module, name) not in _STAND_INS:
            raise UserError(
                f"would execute {module}.{name}, which plain data don't need; it was not read any "
                "further. Give the list as its authors published it."
            )
        return _STAND_INS[module, name]


class _Type:
    """The numeric type of a NumPy number or array."""

    def __init__(self, code: str, *_: Any) -> None:
        if code[:1] not in "biuf":
            raise UserError(f"holds values of NumPy's type {code!r}; only numbers are read.")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array(list):
    """A NumPy array, as nested lists."""

    def __init__(self, *_: Any) -> None:
        super().__init__()

    def __setstate__(self, state: tuple) -> None:
        _, shape, kind, fortran_order, data = state
        values = np.frombuffer(data, kind.dtype).reshape(shape, order="F" if fortran_order else "C")
        self[:] = values.tolist()


def _number(kind: _Type, data: bytes) -> float:
    return np.frombuffer(data, kind.dtype)[0].item()


def _bytes(text: str, _: str) -> bytes:
    return text.encode("latin1")  # how pickles of protocol 2 hold bytes


_STAND_INS: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "dtype"): _Type,
    ("numpy", "ndarray"): list,
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy.core.multiarray", "scalar"): _number,
    ("_codecs", "encode"): _bytes,
}


@exit_status
def main(argv: list[str] | None = None) -> None:
    """Make the lists and say how long they are."""
    arguments = parse_arguments(argv)
    if arguments.command == "published":
        sources = {name: getattr(arguments, name) for name in LISTS}
        lists = {name: read_published_list(path) for name, path in sources.items()}
    else:
        sources = dict.fromkeys(LISTS, arguments.json)
        content, estimates = add_ratios(read_coco(arguments.json), arguments.json)
        lists = derive_lists(content, arguments.json)
        if estimates:
            path = arguments.output / "annotations.json"
            write_json(content, path, inputs=[arguments.json])
            print(f"{path}: {estimates} occlusion ratios are estimates")
    for name, objects in lists.items():
        path = arguments.output / f"{name}.json"
        write_list(path, objects, sources[name])
        unknown = sum(item.occlusion_ratio is None for item in objects)
        print(f"{path}: {len(objects)} objects" + f", {unknown} of unknown ratio" * bool(unknown))


if __name__ == "__main__":
    sys.exit(main())
