"""Runs the imTED that its authors released, on a CPU, for the tools beside this one.

Their code wants mmcv 1.2.4 to 1.4.0 with compiled operators. Here it gets the pure-Python mmcv
1.7.2; the two kernels that imTED needs come from torchvision, which has the same formulas.
"""

import math
import sys
import tempfile
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
import torchvision

Model = Any  # a detector of either code: torch's type of a module knows none of its attributes
PYRAMID = ("p2", "p3", "p4", "p5", "p6")
BLOCK = 12  # their pyramid reads this one, of ViT-L's 24 too
# Box and mask heads are compared on this many of the proposals.
_ROIS = 200
_LOSSES = {
    "loss_rpn_cls": "loss_rpn_cls",
    "loss_rpn_bbox": "loss_rpn_loc",
    "loss_cls": "loss_cls",
    "loss_bbox": "loss_box_reg",
    "loss_mask": "loss_mask",
}
# Spread of a layer's outputs: confident classes, boxes that move, masks with two sides.
_GAINS = {
    "rpn_cls": 2.0,
    "rpn_reg": 0.3,
    "fc_cls": 3.0,
    "fc_reg": 2.0,
    "mlp": 0.5,
    "proj": 0.5,
    "convs": 1.5,
    "upsample": 1.5,
    "conv_logits": 3.0,
}


class _Extension(types.ModuleType):
    """Stands for ``mmcv._ext``; operators without a stand-in fail when they are called."""

    def __getattr__(self, name: str) -> Callable[..., NoReturn]:
        if name.startswith("__"):
            raise AttributeError(name)

        def missing(*args: Any, **kwargs: Any) -> NoReturn:
            raise NotImplementedError(f"mmcv's compiled operator {name!r} has no stand-in.")

        return missing

    @staticmethod
    def nms(
        boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float, offset: int
    ) -> torch.Tensor:
        assert offset == 0
        return torchvision.ops.nms(boxes, scores, iou_threshold)

    @staticmethod
    def roi_align_forward(
        features: torch.Tensor,
        rois: torch.Tensor,
        output: torch.Tensor,
        argmax_y: torch.Tensor,
        argmax_x: torch.Tensor,
        **options: Any,
    ) -> None:
        output.copy_(torch.ops.torchvision.roi_align(features, rois, *_roi_align(**options)))

    @staticmethod
    def roi_align_backward(
        grad_output: torch.Tensor,
        rois: torch.Tensor,
        argmax_y: torch.Tensor,
        argmax_x: torch.Tensor,
        grad_input: torch.Tensor,
        **options: Any,
    ) -> None:
        # Pooling is linear: its gradient is the same at any features.
        features = torch.zeros_like(grad_input, requires_grad=True)
        with torch.enable_grad():
            pooled = torch.ops.torchvision.roi_align(features, rois, *_roi_align(**options))
        grad_input.copy_(torch.autograd.grad(pooled, features, grad_output)[0])


def _roi_align(
    *,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> tuple[float, int, int, int, bool]:
    assert pool_mode == 1  # average
    return spatial_scale, aligned_height, aligned_width, sampling_ratio, aligned


def install(authors: str) -> None:
    """Make ``import mmdet`` import the clone in `authors`.

    The names that NumPy dropped stay for good: the authors' code reads them as it runs.
    """
    sys.modules["mmcv._ext"] = _Extension("mmcv._ext")
    import mmcv

    mmcv.__version__ = "1.3.18"  # what they ask for
    for kind in (bool, int, float):  # np.int and the like left NumPy in 1.24
        vars(np).setdefault(kind.__name__, kind)
    sys.path.insert(0, authors)


def build(authors: str, name: str, changes: dict[str, object] | None = None) -> tuple[Model, Any]:
    """Build a detector from one of their configs, without pre-trained weights.

    Args:
        authors: A clone of their repository.
        name: The config's, without its ending.
        changes: New values of the config by dotted key.

    Returns:
        The detector in evaluation mode, and the config.
    """
    import mmdet.models  # noqa: F401  fills the registry
    from mmcv import Config
    from mmdet.models import build_detector

    config = Config.fromfile(str(Path(authors) / "configs/imted" / f"{name}_3x_coco.py"))
    config.merge_from_dict(changes or {})
    config.model.backbone.drop_path_rate = 0.0  # at random, so not to be compared
    config.model.train_cfg.rcnn.sampler.num = 64  # of an image, 512 in theirs: saves memory
    with tempfile.TemporaryDirectory() as folder:
        config.model.pretrained = f"{folder}/empty.pth"
        torch.save({"model": {"nothing": torch.zeros(1)}}, config.model.pretrained)
        model = build_detector(config.model)
    return model.eval(), config


def randomize(model: torch.nn.Module, seed: int) -> None:
    """Fill every parameter and statistic so that each path matters and values stay near 1."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in model.state_dict().items():
        if not value.is_floating_point():
            continue
        value.copy_(spread(name, torch.randn(value.shape, generator=generator)))


def spread(name: str, noise: torch.Tensor) -> torch.Tensor:
    """Turn normal noise into a parameter or statistic of that name in their files."""
    parts = name.split(".")
    if name.endswith("running_var"):
        return (0.3 * noise).exp()
    if noise.ndim == 1 and name.endswith("weight"):  # a norm
        return 1 + 0.2 * noise
    if noise.ndim == 1:
        return 0.2 * noise
    if name.endswith(("_embed", "_token")):
        return 0.5 * noise
    transposed = {"fpn1", "fpn2", "upsample"} & set(parts)
    fan_in = noise.shape[0] if transposed else noise[0].numel()
    gain = next((gain for part, gain in _GAINS.items() if part in parts), 1.0)
    return noise * gain / math.sqrt(fan_in)


def read_image(config: Any, path: str, scale: list[int]) -> tuple[torch.Tensor, dict]:
    """Run their test pipeline on a file: the padded image (1, 3, H, W) and its meta."""
    from mmdet.datasets.pipelines import Compose

    pipeline = config.data.test.pipeline
    pipeline[1].img_scale = (max(scale), min(scale))
    data = Compose(pipeline)({"img_info": {"filename": path}, "img_prefix": None})
    return data["img"][0][None], data["img_metas"][0].data


@torch.no_grad()
def infer(
    model: Model,
    image: torch.Tensor,
    meta: dict,
    block: int = BLOCK,
    boxes: torch.Tensor | None = None,
) -> dict[str, torch.Tensor]:
    """Run inference on one image and return every stage's output by name.

    Proposals and detections are rows of four coordinates, a score and a class.

    Args:
        model: Their detector.
        image: (1, 3, H, W), padded.
        meta: Their description of it.
        block: Which block the pyramid reads, counted from 1.
        boxes: (R, 4) that the RoI features are of; by default proposals, and some without area.
    """
    tokens = []
    pyramid_block = model.backbone.blocks[block - 1]
    hook = pyramid_block.register_forward_hook(lambda module, args, output: tokens.append(output))
    pyramid, last = model.extract_feat(image)
    hook.remove()
    grid = [side // 16 for side in image.shape[2:]]
    record = {"image": image}
    for name, value in ((f"block{block}", tokens[0]), ("last_feat", last)):
        record[name] = value[:, 1:].transpose(1, 2).unflatten(2, grid)
    record |= dict(zip(PYRAMID, pyramid, strict=True))
    logits, deltas = model.rpn_head(pyramid)
    for name, levels in (("objectness", logits), ("anchor deltas", deltas)):
        record |= {f"{name} {p}": level for p, level in zip(PYRAMID, levels, strict=True)}
    proposals = model.rpn_head.get_bboxes(logits, deltas, [meta])[0]
    record["proposals"] = torch.cat([proposals, torch.zeros_like(proposals[:, :1])], dim=1)
    # They clear what is predicted for boxes that end at y = 0, which mark padding elsewhere.
    proposals = proposals[proposals[:, 3] > 0]
    if boxes is None:
        boxes = proposals[:_ROIS, :4]
        boxes = torch.cat([boxes, boxes[:4, [0, 1, 0, 1]]])
    rois = torch.cat([boxes.new_zeros(len(boxes), 1), boxes], dim=1)
    maps = model.get_roi_feat(pyramid, last)
    head = model.roi_head
    result = head._bbox_forward(maps, rois)
    record["boxes"], record["RoI features"] = boxes, result["bbox_feats"]
    record["class logits"], record["box deltas"] = result["cls_score"], result["bbox_pred"]
    found, labels = head.simple_test_bboxes(maps, [meta], [proposals], head.test_cfg, rescale=True)
    record["detections"] = torch.cat([found[0], labels[0][:, None]], dim=1)
    if head.with_mask:
        record["mask logits"] = head._mask_forward(maps, rois)["mask_pred"]
    if head.with_mask and image.dtype == torch.float32:  # they paste in no other
        masks = head.simple_test_mask(maps, [meta], found, labels, rescale=True)[0]
        masks = [masks[label].pop(0) for label in labels[0].tolist()]
        record["pasted masks"] = torch.from_numpy(np.stack(masks))
    return record


def train(
    model: Model, images: torch.Tensor, metas: list[dict], truth: list[tuple]
) -> tuple[dict[str, torch.Tensor], dict[str, list]]:
    """Compute the losses in training mode.

    Args:
        model: Their detector.
        images: (N, 3, H, W), padded.
        metas: One for each image.
        truth: Boxes (R, 4), classes (R,) and masks (R, h, w) of each image.

    Returns:
        The losses by Detectron2's names, and what their samplers chose of "anchors" and "rois".
    """
    from mmdet.core import BitmapMasks

    model.train()
    chosen: dict[str, list] = {"anchors": [], "rois": []}
    samplers = (model.rpn_head.sampler, model.roi_head.bbox_sampler)
    for sampler, results in zip(samplers, chosen.values(), strict=True):

        def record(
            *args: Any, sample: Callable = sampler.sample, results: list = results, **kwargs: Any
        ) -> Any:
            result = sample(*args, **kwargs)
            for name in ("pos_bboxes", "neg_bboxes"):  # Detectron2's boxes are float32 always
                boxes = getattr(result, name)
                setattr(result, name, boxes.float().to(boxes))
            results.append(result)
            return result

        sampler.sample = record
    torch.manual_seed(0)
    masks = {}
    if model.roi_head.with_mask:
        bitmaps = (m.numpy().astype(np.uint8) for _, _, m in truth)
        masks["gt_masks"] = [BitmapMasks(m, *m.shape[1:]) for m in bitmaps]
    boxes, classes = [boxes for boxes, _, _ in truth], [classes for _, classes, _ in truth]
    losses = model.forward_train(images, metas, boxes, classes, **masks)
    losses = {_LOSSES[name]: value for name, value in losses.items() if name in _LOSSES}
    return {
        name: sum(value, torch.zeros(())) if isinstance(value, list) else value.sum()
        for name, value in losses.items()
    }, chosen
