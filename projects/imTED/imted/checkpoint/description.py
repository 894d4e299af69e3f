"""What a detector's file says of itself, so that it can be used without the data it learnt from."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import detectron2.data.transforms as T

from imted import allowed
from imted.errors import UserError

KEY = "description"
"""Its name in a torch file, and in the metadata of a safetensors file."""


@dataclass(frozen=True)
class Description:
    """What a detector's file says of itself.

    Attributes:
        classes: Names of the classes, in the order of the logits.
        category_ids: Their ids in the json, in the same order.
        masks: Whether the detector predicts masks.
        input_format: Order of the channels, "RGB" or "BGR".
        pixel_mean: Mean of each channel, on pixels in [0, 255].
        pixel_std: Standard deviation of each channel.
        augmentations: What is done to a test image: the arguments of each of Detectron2's or this
            project's augmentations, and its class as `_target_`. None: the config alone says it.
        version: This project's version when the file was written.
    """

    classes: tuple[str, ...]
    category_ids: tuple[int, ...]
    masks: bool
    input_format: str
    pixel_mean: tuple[float, ...]
    pixel_std: tuple[float, ...]
    augmentations: tuple[dict[str, Any], ...] | None
    version: str

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values, which both kinds of file hold."""
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_dict(cls, values: Any, path: str) -> "Description":
        """Read it back.

        Args:
            values: What `to_dict` returned; entries of a later version are left out.
            path: The file, for errors.

        Raises:
            UserError: Something is missing or of another kind, or an augmentation is no known
                one: a file must not choose what is run.
        """
        allowed.refuse_many(values, path)
        try:
            description = cls(
                classes=tuple(str(name) for name in values["classes"]),
                category_ids=tuple(int(number) for number in values["category_ids"]),
                masks=bool(values["masks"]),
                input_format=str(values["input_format"]),
                pixel_mean=tuple(float(value) for value in values["pixel_mean"]),
                pixel_std=tuple(float(value) for value in values["pixel_std"]),
                augmentations=_augmentations(values["augmentations"], path),
                version=str(values["version"]),
            )
            if len(description.classes) != len(description.category_ids):
                raise ValueError("classes and category_ids are not equally many")
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise UserError(
                f"{path}: what the file says of itself ({KEY!r}) can't be read ({error!r}); save "
                "it again."
            ) from None
        return description


def _augmentations(values: Any, path: str) -> tuple[dict[str, Any], ...] | None:
    if values is None:
        return None
    calls = tuple(dict(value) for value in values)
    for call in calls:
        name = call["_target_"]
        try:
            allowed.checked(call, path)
            known = issubclass(allowed.find(name, path), T.Augmentation | T.Transform)
        except UserError:
            known = False
        if not known:
            raise ValueError(f"{name}, or a part of it, is no known augmentation")
    return calls


def parse_metadata(metadata: Mapping[str, str] | None) -> dict[str, Any]:
    """Return the plain values of a description in the metadata of a safetensors file."""
    if not metadata or KEY not in metadata:
        return {}
    try:
        return {KEY: json.loads(metadata[KEY])}
    except ValueError:
        return {KEY: None}
