"""The one loader: MAE checkpoints migrate into detectors, detectors load as they are."""

import logging
from collections.abc import Callable, Collection, Mapping

import torch
from torch import nn

from imted.errors import UserError
from imted.modeling import MAEDecoder, ModelParts, ReconstructionDecoder, ReleasedPyramid, parts_of
from imted.modeling.migration import (
    STACK,
    Taken,
    is_mae,
    migrate,
    size_message,
    take_values,
    to_official_names,
)
from imted.modeling.parts import MODULATOR, PYRAMID, REGIONS

from .files import read_state_dict, require_finite
from .released import is_mmdetection, our_names
from .report import LoadReport

logger = logging.getLogger(__name__)

_NO_SUCH_PART = "the model has no such part"


def load_checkpoint(
    model: nn.Module, path: str, *, fine_tune: bool = False, averaged: bool = False
) -> LoadReport:
    """Load a file's weights into any model of this package, and log a table of it.

    A MAE checkpoint (official layout, or a pre-training run's own) migrates: the encoder becomes
    the backbone; final norm, decoder embedding, positions and blocks become the box head, as far
    as it takes them over (`imted.modeling.MAEDecoder.migrated`; Detectron2's own heads take
    none). Position embeddings are resized when the grid differs, the kernel of the
    patch embedding when the patch size does. Any other file must hold the model's own weights: a
    detector's own file, or one that imTED's authors released (mmdetection's layout), of which
    nothing may be left over.

    Args:
        model: What to fill.
        path: A path or any URL that iopath reads.
        fine_tune: Let the layers whose size is the number of classes start anew where the file
            has other classes.
        averaged: Load the average that a training with `train.ema` keeps beside its weights.

    Returns:
        An account of every tensor.

    Raises:
        UserError: If the file is no checkpoint, has other sizes, or not what the model migrates.
    """
    weights = to_official_names(read_state_dict(path, averaged))
    source = f"{path} (train.init_checkpoint)"
    require_finite(weights, source)
    report, parts = LoadReport(path), parts_of(model)
    # All is checked before anything is copied: an error leaves the model as it was.
    if is_mae(weights):
        taken = migrate(model, weights, source)
        _account(taken, model, weights, parts, report)
    else:
        released = is_mmdetection(weights)
        names = our_names(weights, path, parts) if released else {key: key for key in weights}
        sources = _own_sources(model, weights, names, report, parts if fine_tune else None)
        if released:
            _check_released(model, report)
        taken = take_values(
            model.state_dict(), weights, sources, source, lambda name: _message_for(name, parts)
        )
    report.loaded, report.adapted = taken.sources, taken.changes
    state = model.state_dict()
    with torch.no_grad():
        for name, value in taken.values.items():
            state[name].copy_(value)
    logger.debug(report.table())
    return report


def load_trained(model: nn.Module, path: str, averaged: bool = False) -> LoadReport:
    """Load what a training has saved; as `load_checkpoint`, but nothing may start at random.

    Raises:
        UserError: Also if the file is a masked autoencoder's or holds a part of the model alone.
    """
    report = load_checkpoint(model, path, averaged=averaged)
    if report.fresh:
        raise UserError(
            f"{path} (train.init_checkpoint) isn't a trained model: {next(iter(report.fresh))} "
            f"and {len(report.fresh) - 1} more are missing; give what a training has saved, such "
            "as <folder of a training>/model_final.pth."
        )
    return report


def _account(
    taken: Taken,
    model: nn.Module,
    weights: Mapping[str, torch.Tensor],
    parts: ModelParts,
    report: LoadReport,
) -> None:
    """Say of what has not migrated why: in the model, and in the checkpoint."""
    names, migrated = model.state_dict(), set(taken.sources.values())
    report.fresh = {n: _initial_value(n, parts) for n in names if n not in taken.sources}
    has = {key.split(".")[0] for name in names if (key := parts.mae_key(name))}
    report.left_out = {key: _why_left_out(key, has) for key in weights if key not in migrated}


def _initial_value(name: str, parts: ModelParts) -> str:
    if name == parts.scale:
        return "starts at its initial value, zero by default"
    if name.endswith("decoder_pos_embed"):
        return "fixed table"
    constant = name.startswith("proposal_generator.anchor") or name.endswith("fed_loss_cls_weights")
    return "constant" if constant else "starts at random"


def _why_left_out(key: str, has: Collection[str]) -> str:
    """Say why a tensor of a MAE checkpoint isn't taken by a model that has some of its parts."""
    part = key.split(".")[0]
    if part in (PYRAMID, MODULATOR):
        return f"the model's {part} is of another width" if part in has else f"no {part} here"
    if part == "cls_token":
        return "this encoder has no class token"
    if part in MAEDecoder.migrated:
        return "the box head does not take it over"
    if part in ReconstructionDecoder.migrated or part == REGIONS:
        return "serves pixel reconstruction only"
    return "not part of a MAE"


def _own_sources(
    model: nn.Module,
    weights: dict[str, torch.Tensor],
    names: Mapping[str, str],
    report: LoadReport,
    restart: ModelParts | None,
) -> dict[str, str]:
    """Map every parameter to its name in the file.

    `names` gives the model's name for each name in the file. With `restart`, the layers of
    classes that don't fit start anew.
    """
    state = model.state_dict()
    keys = {name: key for key, name in names.items()}
    if not set(state) & set(keys):
        raise UserError(
            f"{report.path} (train.init_checkpoint) is neither a MAE checkpoint nor this model's: "
            f"it begins with {next(iter(weights))!r}; give one of the two."
        )
    sources = {}
    for name, value in state.items():
        key = keys.get(name, name)
        fits = key in weights and weights[key].shape == value.shape
        if restart and not fits and restart.of_classes(name):
            report.fresh[name] = "the file has other classes"
        else:
            sources[name] = key
    unused = (key for name, key in keys.items() if name not in state)
    report.left_out = dict.fromkeys(unused, _NO_SUCH_PART)
    return sources


def _check_released(model: nn.Module, report: LoadReport) -> None:
    """Refuse a released file that the model can't hold all of."""
    if not isinstance(getattr(model, "backbone", None), ReleasedPyramid):
        raise UserError(
            f"{report.path} (train.init_checkpoint) is a detector as imTED's authors released it, "
            "and the config's model differs from theirs; choose its config in configs/released."
        )
    for key in report.left_out:
        if not STACK.match(key):  # what has more blocks is of another size
            raise UserError(
                f"{report.path} (train.init_checkpoint) holds {key!r}, for which the config's "
                "model has no place; choose the file's own config in configs/released."
            )


def _message_for(name: str, parts: ModelParts) -> Callable[..., str]:
    """Choose what to say of a parameter whose size is another."""
    if not parts.of_classes(name):
        return size_message
    # Class scores come before box regressors: where they fit, the classes do.
    regressor = parts.box_predictor and name.startswith(f"{parts.box_predictor}.bbox_pred.")
    return _box_message if regressor else _class_message


def _class_message(source: str, key: str, found: tuple[int, ...], expected: str) -> str:
    return (
        f"{source} has other classes than the config's model: {key!r} is "
        f"{found} in the file and {expected} in the model; set the model's num_classes to the "
        "file's, or choose another file."
    )


def _box_message(source: str, key: str, found: tuple[int, ...], expected: str) -> str:
    return (
        f"{source} and the config's model agree on the classes but not on "
        f"cls_agnostic_bbox_reg, one box regressor for all of them: {key!r} is {found} in the file "
        f"and {expected} in the model; choose the config that the file was trained with."
    )
