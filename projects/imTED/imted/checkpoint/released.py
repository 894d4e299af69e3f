"""Names of the weights in the detectors that imTED's authors released, which are mmdetection's."""

import re
from collections.abc import Iterable

from imted.errors import UserError

# A detector in mmdetection's layout has some of these beside its backbone.
_MMDETECTION = ("neck.", "rpn_head.", "roi_head.", "bbox_head.", "mask_head.")
# What no other detector of mmdetection has.
_IMTED = ("roi_head.mfm_factor", "roi_head.bbox_head.decoder_embed.weight")

# Beginning of a name there -> beginning of the name here. Longer ones come first.
_PREFIXES = {
    "backbone.fpn1.": "backbone.simfp_2.",
    "backbone.fpn2.": "backbone.simfp_3.",
    "backbone.": "backbone.net.",
    "rpn_head.rpn_conv.": "proposal_generator.rpn_head.conv.",
    "rpn_head.rpn_cls.": "proposal_generator.rpn_head.objectness_logits.",
    "rpn_head.rpn_reg.": "proposal_generator.rpn_head.anchor_deltas.",
    "roi_head.mfm_factor": "roi_heads.box_pooler.scale",
    "roi_head.mfm_fc.": "roi_heads.box_pooler.projection.",
    "roi_head.bbox_head.fc_cls.": "roi_heads.box_predictor.cls_score.",
    "roi_head.bbox_head.fc_reg.": "roi_heads.box_predictor.bbox_pred.",
    "roi_head.bbox_head.decoder_box_norm.": "roi_heads.box_head.box_norm.",
    "roi_head.bbox_head.": "roi_heads.box_head.",
    "roi_head.mask_head.upsample.": "roi_heads.mask_head.deconv.",
    "roi_head.mask_head.conv_logits.": "roi_heads.mask_head.predictor.",
}
_NECK = re.compile(r"neck\.(lateral|fpn)_convs\.([0-3])\.(conv|ln)\.(.+)")
_MASK_CONV = re.compile(r"roi_head\.mask_head\.convs\.(\d+)\.conv\.(.+)")
# How many layers come before the two convolutions of p2, p3, p4 and p5.
_RESIZING = (4, 1, 0, 1)


def is_mmdetection(keys: Iterable[str]) -> bool:
    """Tell whether weights of these names are a detector of mmdetection's."""
    return any(key.startswith(_MMDETECTION) for key in keys)


def our_names(keys: Iterable[str], path: str) -> dict[str, str]:
    """Map the name of each weight in a released file to its name here.

    Args:
        keys: The names in the file.
        path: The file, for the error.

    Returns:
        Name in the file -> name here; what imTED does not have keeps its name.

    Raises:
        UserError: If it is another detector of mmdetection's.
    """
    keys = list(keys)
    for required in _IMTED:
        if required not in keys:
            raise UserError(
                f"{path} (train.init_checkpoint) is a detector of mmdetection, but not imTED: "
                f"it lacks {required!r}; give one of the files that imTED's authors released."
            )
    return {key: _our_name(key) for key in keys}


def _our_name(key: str) -> str:
    if match := _NECK.fullmatch(key):
        kind, level, layer, rest = match.groups()
        index = _RESIZING[int(level)] + (kind == "fpn")
        return f"backbone.simfp_{int(level) + 2}.{index}.{'norm.' if layer == 'ln' else ''}{rest}"
    if match := _MASK_CONV.fullmatch(key):
        return f"roi_heads.mask_head.mask_fcn{int(match[1]) + 1}.{match[2]}"
    for theirs, ours in _PREFIXES.items():
        if key.startswith(theirs):
            return ours + key.removeprefix(theirs)
    return key
