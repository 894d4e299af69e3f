r"""Compare imTED here with the code that its authors released, stage by stage, on one photo.

    git clone https://github.com/LiewFeng/imTED authors
    echo 'setuptools<81' > old.txt  # mmcv's setup imports pkg_resources
    PIP_CONSTRAINT=old.txt pip install --no-deps --target mmcv \
        mmcv==1.7.2 addict yapf platformdirs terminaltables six
    export PYTHONPATH=mmcv
    python tools/maintain/parity/compare_with_released_imted.py photo.jpg --authors authors

Both get the same random weights, through a file in the released layout. A line has the largest
difference over the largest value: "alone" with the authors' input to that stage, and "chained"
from the photo on. --train compares losses, and the gradient of every parameter, for the anchors
and RoIs that the authors' code samples. key=value changes our config, to see what a choice makes:
model.backbone.net.interpolate_offset=0.0
"""

import argparse
import math
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from imted.checkpoint import load_checkpoint
from imted.checkpoint.released import our_names
from imted.compat import silence
from imted.errors import UserError, exit_status
from imted.modeling import parts_of

import released_imted
import torch
from detectron2.config import LazyConfig, instantiate
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.structures import BitMasks, Boxes, ImageList, Instances
from detectron2.utils.events import EventStorage
from released_imted import BLOCK, PYRAMID, Model

CONFIGS = Path(__file__).resolve().parents[3] / "configs" / "released"
# A batch norm follows and takes this bias out again; its gradient is rounding alone.
_NO_GRADIENT = "backbone.fpn1.0.bias"
# How many gradients are listed, the most different first.
_LISTED = 8

Values = dict[str, torch.Tensor]
Row = tuple[str, list[float], str]


@exit_status
def main(argv: list[str] | None = None) -> int:
    """Run the command line; the exit status is 0 if everything is within `--tolerance`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("image", help="a photo")
    parser.add_argument("overrides", nargs="*", help="key=value for our config")
    parser.add_argument("--authors", required=True, help="a clone of github.com/LiewFeng/imTED")
    parser.add_argument("--size", default="small", choices=("small", "base", "large"))
    parser.add_argument("--masks", action="store_true", help="Mask R-CNN instead of Faster R-CNN")
    parser.add_argument("--scale", nargs=2, type=int, default=[800, 1333], metavar="PIXELS")
    parser.add_argument("--train", action="store_true", help="losses and gradients")
    parser.add_argument("--double", action="store_true", help="float64: tells rounding from error")
    parser.add_argument("--tolerance", type=float, default=1e-5)
    args = parser.parse_intermixed_args(argv)
    rows = _run(args)
    for stage, values, note in rows:
        print(f"{stage:42}" + "".join(f"{value:10.1e}" for value in values) + f"  {note}")
    largest = max(value for _, values, _ in rows for value in values)
    print(f"largest {largest:.1e}; tolerance {args.tolerance:.0e}")
    return int(not largest <= args.tolerance)


def _run(args: argparse.Namespace) -> list[Row]:
    if not (Path(args.authors) / "mmdet").is_dir():
        raise UserError(f"{args.authors} (--authors) is no clone of github.com/LiewFeng/imTED.")
    silence()
    name = f"imted_{'mask' if args.masks else 'faster'}_rcnn_vit_{args.size}"
    config = LazyConfig.apply_overrides(
        LazyConfig.load(str(CONFIGS / f"{name}.py")), args.overrides
    )
    config.model.backbone.net.drop_path_rate = 0.0
    mapper = config.dataloader.test.mapper
    mapper.augmentations[0].short_edge_length = min(args.scale)
    mapper.augmentations[0].max_size = max(args.scale)
    item = instantiate(mapper)({"file_name": args.image})

    released_imted.install(args.authors)
    theirs, their_config = released_imted.build(args.authors, name)
    released_imted.randomize(theirs, seed=0)
    ours = instantiate(config.model)
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/released.pth"
        torch.save({"meta": {}, "state_dict": theirs.state_dict()}, path)
        load_checkpoint(ours, path)
    image, meta = released_imted.read_image(their_config, args.image, args.scale)
    if args.double:
        theirs, ours, image = theirs.double(), ours.double(), image.double()
        item["image"] = item["image"].double()
    if args.train:
        return compare_training(theirs, ours, image, meta)
    return compare_inference(theirs, ours, image, meta, item)


@torch.no_grad()
def compare_inference(
    theirs: Model, ours: Model, image: torch.Tensor, meta: dict, item: dict
) -> list[Row]:
    """Compare every stage's output: [alone, chained] for each.

    Args:
        theirs: The authors' detector.
        ours: Ours, with the same weights.
        image: What the authors' pipeline makes of the photo, (1, 3, H, W).
        meta: Their description of it.
        item: What our test loader makes of the photo.
    """
    reference = released_imted.infer(theirs, image, meta)
    batch = ours.eval().preprocess_image([item])
    results = [
        infer_ours(ours, batch, given, meta["ori_shape"][:2])
        for given in (reference, {"boxes": reference["boxes"]})
    ]
    proposals, empty = reference["proposals"], ~has_area(reference["detections"])
    print(
        f"image {tuple(image.shape)}; of {len(proposals)} proposals "
        f"{int((~has_area(proposals)).sum())} have no area, of {len(empty)} detections "
        f"{int(empty.sum())}, which Detectron2 drops"
    )
    for stage in {"detections", "pasted masks"} & set(reference):
        reference[stage] = reference[stage][~empty]
    del reference["boxes"]
    return [
        _compare(stage, value, [r[stage] for r in results]) for stage, value in reference.items()
    ]


def _compare(stage: str, reference: torch.Tensor, results: list[torch.Tensor]) -> Row:
    if stage in ("proposals", "detections"):
        pairs = [match(reference, rows) for rows in results]
        missing = ", ".join(str(missing) for _, missing, _ in pairs)
        order = ", ".join("same" if same else "another" for _, _, same in pairs)
        note = f"{len(reference)}, without a partner {missing}, order {order}"
        return stage, [value for value, _, _ in pairs], note
    if stage == "pasted masks":
        same = [result.shape == reference.shape for result in results]
        pixels = [
            int((r != reference).sum()) if ok else -1 for r, ok in zip(results, same, strict=True)
        ]
        note = f"pixels that differ, of {int(reference.sum())} (-1: other detections)"
        return stage, [], f"{pixels} {note}"
    return stage, [relative(result, reference) for result in results], ""


def infer_ours(
    model: Model, batch: ImageList, given: Values, photo_size: tuple[int, int]
) -> Values:
    """Run inference and return every stage's output under the names of `released_imted.infer`.

    Args:
        model: Our detector.
        batch: One image.
        given: Inputs of stages by name; what is not here comes from the stage before. "boxes"
            must be here.
        photo_size: Height and width of the file.
    """
    out = {"image": batch.tensor}
    rpn, heads = model.proposal_generator, model.roi_heads

    def source(name: str) -> torch.Tensor:
        return given[name] if name in given else out[name]

    def at_encoder(module: torch.nn.Module, args: tuple, output: Values) -> Values:
        out.update({f"block{BLOCK}": output["last_feat"], **output})
        return {name: source(name) for name in output}

    def at_rpn_head(
        module: torch.nn.Module, args: tuple, output: tuple[list[torch.Tensor], ...]
    ) -> tuple[list[torch.Tensor], ...]:
        names = ("objectness", "anchor deltas")
        for name, levels in zip(names, output, strict=True):
            out.update({f"{name} {p}": level for p, level in zip(PYRAMID, levels, strict=True)})
        return tuple([source(f"{name} {p}") for p in PYRAMID] for name in names)

    with _hook(model.backbone.net, at_encoder):
        pyramid = model.backbone(source("image"))
    out |= {name: pyramid[name] for name in PYRAMID}
    features = {name: source(name) for name in (*PYRAMID, "last_feat")}
    with _hook(rpn.rpn_head, at_rpn_head):
        found = rpn(batch, features)[0][0]
    scores = found.objectness_logits.sigmoid()[:, None]
    out["proposals"] = torch.cat([found.proposal_boxes.tensor, scores, 0 * scores], dim=1)
    boxes = [Boxes(given["boxes"])]
    out["RoI features"] = heads.box_pooler([features[f] for f in heads.box_in_features], boxes)
    predictions = heads.box_predictor(heads.box_head(source("RoI features")))
    out["class logits"], out["box deltas"] = predictions
    if heads.mask_on:
        pooled = heads.mask_pooler([features[f] for f in heads.mask_in_features], boxes)
        out["mask logits"] = heads.mask_head.layers(pooled)
    proposals = source("proposals")
    proposals = Boxes(proposals[proposals[:, 3] > 0, :4])  # as released_imted.infer
    proposals = Instances(batch.image_sizes[0], proposal_boxes=proposals)
    found = detector_postprocess(heads(batch, features, [proposals])[0][0], *photo_size)
    columns = (found.pred_boxes.tensor, found.scores[:, None], found.pred_classes[:, None])
    out["detections"] = torch.cat(columns, dim=1)
    if heads.mask_on:
        out["pasted masks"] = found.pred_masks
    return out


@contextmanager
def _hook(module: torch.nn.Module, hook: Callable) -> Iterator[None]:
    """See a module's output for a while; what `hook` returns takes its place."""
    handle = module.register_forward_hook(hook)
    yield
    handle.remove()


def relative(value: torch.Tensor, reference: torch.Tensor) -> float:
    """Return the largest difference over the reference's largest value."""
    if value.shape != reference.shape:
        return math.inf
    value, reference = value.double(), reference.double()
    return ((value - reference).abs().max() / reference.abs().max()).item()


def has_area(boxes: torch.Tensor) -> torch.Tensor:
    """Tell which of (R, 4 or more) have an area."""
    return (boxes[:, 2:4] > boxes[:, :2]).all(dim=1)


def match(reference: torch.Tensor, rows: torch.Tensor) -> tuple[float, int, bool]:
    """Find the nearest of (R, 6) boxes, scores and classes for each of (S, 6).

    Returns:
        The largest difference of those that are near over the largest coordinate; how many, of
        both sides, have no partner; whether the order is the same.
    """
    scale = reference[:, :4].abs().max().item()
    distance, index = torch.cdist(reference.double(), rows.double(), p=math.inf).min(dim=1)
    near = distance < 1e-3 * scale
    others = len(rows) - len(index[near].unique())
    same = index.equal(torch.arange(len(reference)))
    return distance[near].max().item() / scale, int((~near).sum()) + others, same


def compare_training(theirs: Model, ours: Model, image: torch.Tensor, meta: dict) -> list[Row]:
    """Compare losses and gradients on two images of different sizes, cut from the photo.

    See `compare_inference` for the arguments.
    """
    height, width = image.shape[2:]
    images = [image[0, :, : height - a, : width - b] for a, b in ((7, 5), (20, 30))]
    batch = ImageList.from_tensors(images, 32)
    generator = torch.Generator().manual_seed(0)
    truth = [_random_objects(size, generator, image.dtype) for size in batch.image_sizes]
    metas = [
        {**meta, "img_shape": (*size, 3), "pad_shape": (height, width, 3)}
        for size in batch.image_sizes
    ]
    their_losses, chosen = released_imted.train(theirs, batch.tensor, metas, truth)
    sum(their_losses.values(), torch.zeros(())).backward()
    with EventStorage():
        our_losses = train_ours(ours, batch, chosen, truth)
    sum(our_losses.values(), torch.zeros(())).backward()

    rows = [
        (name, [relative(our_losses[name], loss)], f"{loss.item():.4f}")
        for name, loss in their_losses.items()
    ]
    names = our_names(theirs.state_dict(), "", parts_of(ours))
    buffers, parameters = dict(ours.named_buffers()), dict(ours.named_parameters())
    for name, statistic in theirs.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            rows.append((name, [relative(buffers[names[name]], statistic)], "after the step"))
    gradients = {
        name: (parameters[names[name]].grad, parameter.grad)
        for name, parameter in theirs.named_parameters()
        if parameter.requires_grad and name != _NO_GRADIENT
    }
    differences = {name: relative(*pair) for name, pair in gradients.items()}
    worst = sorted(differences, key=differences.__getitem__, reverse=True)
    median = differences[worst[len(worst) // 2]]
    rows.append((f"gradients of {len(worst)} tensors", [median], "median; the largest are"))
    rows.extend((f"  {name}", [differences[name]], "") for name in worst[:_LISTED])
    return rows


def _random_objects(
    size: tuple[int, int], generator: torch.Generator, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Make boxes (R, 4), classes (R,) and elliptic masks (R, h, w)."""
    limit = torch.tensor([size[1], size[0]])
    corners = (torch.rand(6, 2, 2, generator=generator) * limit).sort(dim=1).values
    corners[:, 1] = torch.minimum(corners[:, 1] + 24, limit)
    center, radius = corners.mean(dim=1), (corners[:, 1] - corners[:, 0]) / 2
    x, y = (
        (torch.arange(size[1 - i]) + 0.5 - center[:, i, None]) / radius[:, i, None] for i in (0, 1)
    )
    masks = x[:, None, :].square() + y[:, :, None].square() < 1
    classes = torch.randint(0, 80, (6,), generator=generator)
    return corners.flatten(1).to(dtype), classes, masks


def train_ours(
    model: Model, batch: ImageList, chosen: dict[str, list], truth: list[tuple]
) -> Values:
    """Compute the losses in training mode for the anchors and RoIs of `released_imted.train`."""
    features = model.train().backbone(batch.tensor)
    rpn, heads = model.proposal_generator, model.roi_heads
    maps = [features[name] for name in rpn.in_features]
    anchors = rpn.anchor_generator(maps)
    logits, deltas = rpn.rpn_head(maps)
    logits = [level.permute(0, 2, 3, 1).flatten(1) for level in logits]
    deltas = [level.unflatten(1, (-1, 4)).permute(0, 3, 4, 1, 2).flatten(1, 3) for level in deltas]
    labels, targets, proposals = [], [], []
    for anchor, roi, size, (_, _, masks) in zip(
        *chosen.values(), batch.image_sizes, truth, strict=True
    ):
        target = Boxes.cat(anchors).tensor.to(batch.tensor)
        label = torch.full_like(target[:, 0], -1, dtype=torch.int64)
        label[anchor.neg_inds], label[anchor.pos_inds] = 0, 1
        target[anchor.pos_inds] = anchor.pos_gt_bboxes
        labels.append(label)
        targets.append(target)
        # For the background, any object will do.
        objects = torch.cat([roi.pos_assigned_gt_inds, torch.zeros_like(roi.neg_inds)])
        background = torch.full_like(roi.neg_inds, heads.num_classes)
        sampled = Instances(size, proposal_boxes=Boxes(roi.bboxes))
        sampled.gt_classes = torch.cat([roi.pos_gt_labels, background])
        sampled.gt_boxes = Boxes(torch.cat([roi.pos_gt_bboxes, roi.neg_bboxes]))
        sampled.gt_masks = BitMasks(masks[objects])
        proposals.append(sampled)
    heads.label_and_sample_proposals = lambda sampled, targets: sampled  # theirs has chosen
    _, losses = heads(batch, features, proposals, proposals)
    return {**rpn.losses(anchors, logits, labels, deltas, targets), **losses}


if __name__ == "__main__":
    sys.exit(main())
