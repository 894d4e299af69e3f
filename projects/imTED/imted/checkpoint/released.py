"""Names of the weights in the detectors that imTED's authors released, which are mmdetection's."""

import re
from collections.abc import Iterable, Mapping

from imted.errors import UserError
from imted.modeling import ModelParts

# A detector in mmdetection's layout has some of these beside its backbone.
_MMDETECTION = ("neck.", "rpn_head.", "roi_head.", "bbox_head.", "mask_head.")
# What no other detector of mmdetection has.
_IMTED = ("roi_head.mfm_factor", "roi_head.bbox_head.decoder_embed.weight")

_NECK = re.compile(r"neck\.(lateral|fpn)_convs\.([0-3])\.(conv|ln)\.(.+)")
_MASK_CONV = re.compile(r"roi_head\.mask_head\.convs\.(\d+)\.conv\.(.+)")
# How many layers come before the two convolutions of p2, p3, p4 and p5.
_RESIZING = (4, 1, 0, 1)


def is_mmdetection(keys: Iterable[str]) -> bool:
    """Tell whether weights of these names are a detector of mmdetection's."""
    return any(key.startswith(_MMDETECTION) for key in keys)


def our_names(keys: Iterable[str], path: str, parts: ModelParts) -> dict[str, str]:
    """Map the name of each weight in a released file to its name here.

    Args:
        keys: The names in the file.
        path: The file, for the error.
        parts: The model's own; what it doesn't have keeps its name.

    Returns:
        Name in the file -> name here.

    Raises:
        UserError: If it is another detector of mmdetection's.
    """
    keys = list(keys)
    for required in _IMTED:
        if required not in keys:
            raise UserError(
                f"{path} (train.init_checkpoint) is a detector of mmdetection, but not imTED: "
                f"{required!r} is missing; give one of the files that imTED's authors released."
            )
    prefixes = _prefixes(parts)
    return {key: _our_name(key, prefixes) for key in keys}


def _prefixes(parts: ModelParts) -> dict[str, str]:
    """Map the beginning of a name there to the beginning of the name here, longer ones first."""
    prefixes = {
        "backbone.fpn1.": "backbone.simfp_2.",
        "backbone.fpn2.": "backbone.simfp_3.",
        "backbone.": f"{parts.encoder}.",
        "rpn_head.rpn_conv.": "proposal_generator.rpn_head.conv.",
        "rpn_head.rpn_cls.": "proposal_generator.rpn_head.objectness_logits.",
        "rpn_head.rpn_reg.": "proposal_generator.rpn_head.anchor_deltas.",
        "roi_head.mask_head.upsample.": "roi_heads.mask_head.deconv.",
        "roi_head.mask_head.conv_logits.": "roi_heads.mask_head.predictor.",
    }
    if parts.modulator:
        prefixes["roi_head.mfm_factor"] = parts.scale
        prefixes["roi_head.mfm_fc."] = f"{parts.modulator}.projection."
    if parts.box_predictor:
        prefixes["roi_head.bbox_head.fc_cls."] = f"{parts.box_predictor}.cls_score."
        prefixes["roi_head.bbox_head.fc_reg."] = f"{parts.box_predictor}.bbox_pred."
    if parts.decoder:
        prefixes["roi_head.bbox_head.decoder_box_norm."] = f"{parts.decoder}.box_norm."
        prefixes["roi_head.bbox_head."] = f"{parts.decoder}."
    return prefixes


def _our_name(key: str, prefixes: Mapping[str, str]) -> str:
    if match := _NECK.fullmatch(key):
        kind, level, layer, rest = match.groups()
        index = _RESIZING[int(level)] + (kind == "fpn")
        return f"backbone.simfp_{int(level) + 2}.{index}.{'norm.' if layer == 'ln' else ''}{rest}"
    if match := _MASK_CONV.fullmatch(key):
        return f"roi_heads.mask_head.mask_fcn{int(match[1]) + 1}.{match[2]}"
    for theirs, ours in prefixes.items():
        if key.startswith(theirs):
            return ours + key.removeprefix(theirs)
    return key
