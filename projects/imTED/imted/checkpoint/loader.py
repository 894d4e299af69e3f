"""The one loader: MAE checkpoints migrate into detectors, detectors load as they are."""

import logging
import re
from collections.abc import Mapping

import torch
from torch import nn
from torch.nn.functional import interpolate

from imted.errors import UserError
from imted.modeling import MaskedAutoencoder, ReleasedPyramid
from imted.modeling.migration import DECODER, ENCODER, Migration
from imted.modeling.positions import resize_position_embedding

from .files import read_state_dict
from .released import is_mmdetection, our_names
from .report import LoadReport

logger = logging.getLogger(__name__)

_NO_SUCH_PART = "the model has no such part"
_PIXELS_ONLY = ("mask_token", "decoder_norm", "decoder_pred")
_STACK = re.compile(r"(.*blocks)\.\d+\.")
# Of Detectron2's own ROI heads nothing comes from a MAE.
_ENCODER_ALONE = Migration("Detectron2's box head", "", {"backbone.net.": ENCODER})
# The layers whose size is the number of classes.
_CLASS_LAYERS = ("roi_heads.box_predictor.", "roi_heads.mask_head.predictor.", "class_logits.")


def load_checkpoint(
    model: nn.Module, path: str, *, fine_tune: bool = False, averaged: bool = False
) -> LoadReport:
    """Load a file's weights into any model of this package, and log a table of it.

    A MAE checkpoint (official layout, or a pre-training run's own) migrates: the encoder becomes
    the backbone; final norm, decoder embedding, positions and blocks become the box head, as far
    as the model wants them (its :class:`imted.modeling.migration.Migration`; Detectron2's own ROI
    heads want none). Position embeddings are resized when the grid differs, the kernel of the
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
        UserError: If the file is no checkpoint, lacks what the model migrates, or has other sizes.
    """
    weights = _strip_pretraining_prefix(read_state_dict(path, averaged))
    report = LoadReport(path)
    if is_mmdetection(weights):
        names = our_names(weights, path)
        sources = _own_sources(model, weights, names, report, fine_tune)
        _check_released(model, report)
    elif "patch_embed.proj.weight" not in weights:
        names = {key: key for key in weights}
        sources = _own_sources(model, weights, names, report, fine_tune)
    elif isinstance(model, MaskedAutoencoder):
        sources = {name: name.split(".", 1)[1] for name in model.state_dict()}
        report.left_out = dict.fromkeys(set(weights) - set(sources.values()), _NO_SUCH_PART)
    else:
        sources = _migration_sources(model, weights, report)
    _check_depth(weights, sources, report)
    _copy(model, weights, sources, report)
    logger.info(report.table())
    return report


def _strip_pretraining_prefix(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Turn the keys of a pre-training run's checkpoint into the official layout."""
    if "encoder.patch_embed.proj.weight" not in weights:
        return weights
    return {key.removeprefix("encoder.").removeprefix("decoder."): v for key, v in weights.items()}


def _migration_sources(
    model: nn.Module, weights: dict[str, torch.Tensor], report: LoadReport
) -> dict[str, str]:
    """Map each migrated parameter of a model to its name in a MAE checkpoint."""
    migration = getattr(getattr(model, "roi_heads", model), "migration", _ENCODER_ALONE)
    has_decoder = any(key.startswith("decoder_blocks.") for key in weights)
    if migration.wants_decoder and not has_decoder:
        raise UserError(
            f"{report.path} (train.init_checkpoint) holds a MAE encoder without its decoder, and "
            f"{migration.choice} migrates the decoder; use the file with both, whose name "
            "ends in _full (mae_pretrain_vit_base_full.pth), or set "
            f"{migration.without_decoder} to train a random decoder knowingly."
        )
    sources = {}
    for name in model.state_dict():
        for prefix, parts in migration.parts.items():
            key = name.removeprefix(prefix)
            if key != name and key.split(".")[0] in parts and "rel_pos" not in key:
                sources[name] = key
        if name not in sources:
            report.fresh[name] = _initial_value(name)
    migrated = set(sources.values())
    report.left_out = {key: _why_left_out(key, migration) for key in weights if key not in migrated}
    return sources


def _initial_value(name: str) -> str:
    if name == "roi_heads.box_pooler.scale":
        return "starts at zero"
    if name.endswith("box_head.decoder_pos_embed"):
        return "fixed table"
    constant = name.startswith("proposal_generator.anchor") or name.endswith("fed_loss_cls_weights")
    return "constant" if constant else "starts at random"


def _why_left_out(key: str, migration: Migration) -> str:
    part = key.split(".")[0]
    if part in _PIXELS_ONLY:
        return "serves pixel reconstruction only"
    if part == "cls_token":
        return "this encoder has no class token"
    if part in DECODER:
        return f"{migration.choice} does not migrate it"
    return "not part of a MAE"


def _own_sources(
    model: nn.Module,
    weights: dict[str, torch.Tensor],
    names: Mapping[str, str],
    report: LoadReport,
    fine_tune: bool,
) -> dict[str, str]:
    """Map every parameter to its name in the file, but for class layers that start anew.

    `names` gives the model's name for each name in the file.
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
        if fine_tune and not fits and name.startswith(_CLASS_LAYERS):
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
        if not _STACK.match(key):  # what has more blocks is of another size
            raise UserError(
                f"{report.path} (train.init_checkpoint) holds {key!r}, for which the config's "
                "model has no place; choose the file's own config in configs/released."
            )


def _check_depth(
    weights: dict[str, torch.Tensor], sources: dict[str, str], report: LoadReport
) -> None:
    """Refuse a file with more blocks than the model has, rather than leave the last ones out."""
    loaded = {match.group(1) for key in sources.values() if (match := _STACK.match(key))}
    for key in report.left_out:
        if (match := _STACK.match(key)) and match.group(1) in loaded:
            shape = tuple(weights[key].shape)
            raise UserError(_size_message(report.path, key, shape, "absent"))


def _copy(
    model: nn.Module, weights: dict[str, torch.Tensor], sources: dict[str, str], report: LoadReport
) -> None:
    """Check every tensor first, then copy: an error leaves the model as it was."""
    state = model.state_dict()
    values = {}
    for name, key in sources.items():
        target = state[name]
        if key not in weights:
            raise UserError(
                f"{report.path} (train.init_checkpoint) lacks {key!r}, which the config's model "
                "needs; choose the config that the file was made with."
            )
        value = weights[key]
        if key.endswith("pos_embed") and value.shape != target.shape:
            value = _resize_positions(value, target, key, report)
            report.resized.append(name)
        if key.endswith("patch_embed.proj.weight") and _differ_in_kernel_only(value, target):
            value = interpolate(value.float(), target.shape[2:], mode="bicubic")
            report.resampled.append(name)
        if value.shape != target.shape:
            found, expected = tuple(value.shape), f"{tuple(target.shape)}"
            message = _size_message
            if name.startswith(_CLASS_LAYERS):
                # Class scores come before box regressors: where they fit, the classes do.
                message = _box_message if ".bbox_pred." in name else _class_message
            raise UserError(message(report.path, key, found, expected))
        values[name] = value
    with torch.no_grad():
        for name, value in values.items():
            state[name].copy_(value)
    report.loaded.update(sources)


def _differ_in_kernel_only(value: torch.Tensor, target: torch.Tensor) -> bool:
    return value.shape != target.shape and value.shape[:2] == target.shape[:2] and value.ndim == 4


def _resize_positions(
    value: torch.Tensor, target: torch.Tensor, key: str, report: LoadReport
) -> torch.Tensor:
    grids = [(t.shape[1] - 1) ** 0.5 if t.ndim == 3 else 0.5 for t in (value, target)]
    if any(grid != int(grid) for grid in grids) or value.shape[2] != target.shape[2]:
        raise UserError(
            _size_message(report.path, key, tuple(value.shape), f"{tuple(target.shape)}")
        )
    return resize_position_embedding(value.float(), (int(grids[1]), int(grids[1])))


def _size_message(path: str, key: str, found: tuple[int, ...], expected: str) -> str:
    return (
        f"{path} (train.init_checkpoint) has another size than the config's model: {key!r} is "
        f"{found} in the file and {expected} in the model; choose the config of the file's size "
        "(tiny, small, base, large or huge) or another file."
    )


def _class_message(path: str, key: str, found: tuple[int, ...], expected: str) -> str:
    return (
        f"{path} (train.init_checkpoint) has other classes than the config's model: {key!r} is "
        f"{found} in the file and {expected} in the model; set the model's num_classes to the "
        "file's, or choose another file."
    )


def _box_message(path: str, key: str, found: tuple[int, ...], expected: str) -> str:
    return (
        f"{path} (train.init_checkpoint) and the config's model agree on the classes but not on "
        f"cls_agnostic_bbox_reg, one box regressor for all of them: {key!r} is {found} in the file "
        f"and {expected} in the model; choose the config that the file was trained with."
    )
