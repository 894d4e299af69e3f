"""What is timed: our detector, the same weights in the released way, other configs; and a batch."""

import copy
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import torch
from detectron2.structures import BitMasks, Boxes, Instances
from omegaconf import DictConfig, OmegaConf
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from imted.config.load import build, load_config
from imted.config.resolve import Run
from imted.errors import UserError
from imted.modeling import roi_pooler
from imted.modeling.transformer_blocks import TransformerBlocks
from imted.training.train import build_optimizer

CLASSES = 80
"""Where the config takes the number of classes from a data set."""
OBJECTS = 8
"""On an image to train on."""
Batch = list[dict[str, Any]]


@dataclass
class System:
    """Something to be timed.

    Attributes:
        name: What it is.
        model: The model.
        optimizer: Of it, where it trains.
        dtype: Of autocast; None for full precision.
        around: Gives the context that a step runs in.
        seconds: Of each timed step.
        memory: Peak of a step in bytes; 0 on a CPU, where the process's can't be told apart.
        stages: Seconds of each stage of a step, by stage.
        flops: Floating-point operations of a step.
    """

    name: str
    model: nn.Module
    optimizer: torch.optim.Optimizer | None
    dtype: torch.dtype | None
    around: Callable[[], AbstractContextManager]
    seconds: list[float] = field(default_factory=list)
    memory: int = 0
    stages: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    flops: int = 0


def build_systems(run: Run, against: Sequence[str], train: bool) -> list[System]:
    """Build ours and what it is compared with, with random weights.

    Args:
        run: Ours. All are on its device and in its precision, but "released" is in float16 on a
            GPU and in float32 on a CPU, as the authors' code is.
        against: "released", or paths of configs.
        train: Whether training steps will be timed.

    Raises:
        UserError: A config isn't there, or its model is no detector that can be timed so.
    """
    cfg, device = run.cfg, run.device
    cuda = device.type == "cuda"
    ours = _system("ours", cfg, device, train, run.amp_dtype)
    systems = [ours]
    for name in against:
        if name == "released":
            other = _system(name, _released(cfg), device, train, torch.float16 if cuda else None)
            other.model.load_state_dict(ours.model.state_dict())
            other.around = _released_kernels
        else:
            title = os.path.splitext(os.path.basename(name))[0]
            other = _system(title, load_config(name), device, train, ours.dtype)
        systems.append(other)
    return systems


def _system(
    name: str, cfg: DictConfig, device: torch.device, train: bool, dtype: torch.dtype | None
) -> System:
    cfg = copy.deepcopy(cfg)
    OmegaConf.set_readonly(cfg, False)
    heads = cfg.model.get("roi_heads")
    if heads is None:
        raise UserError(f"{name}: a detector of Detectron2's form is timed, with model.roi_heads.")
    if not isinstance(heads.get("num_classes"), int):
        heads.num_classes = CLASSES
    heads.box_predictor.test_score_thresh = 0.0  # no random score is above another
    torch.manual_seed(cfg.train.seed)
    model = build(cfg.model, "model").to(device).train(train)
    optimizer = None
    if train:
        cfg.optimizer.lr = 0.0  # all keep the weights that they share, and so propose the same RoIs
        optimizer = build_optimizer(cfg, model)
    return System(name, model, optimizer, dtype, nullcontext)


def _released(cfg: DictConfig) -> DictConfig:
    cfg = copy.deepcopy(cfg)
    OmegaConf.set_readonly(cfg, False)
    if OmegaConf.select(cfg, "model.roi_heads.modulator") is None:
        raise UserError("released: the config's model isn't imTED's (model.roi_heads.modulator).")
    cfg.model.roi_heads.modulator.project_maps = True
    cfg.model.roi_heads.decoder.use_act_checkpoint = True
    cfg.model.backbone.net.use_act_checkpoint = True
    return cfg


@contextmanager
def _released_kernels() -> Iterator[None]:
    """Attend by plain softmax, pool by torchvision's kernel, average after the whole decoder."""

    def mean(blocks: TransformerBlocks, tokens: torch.Tensor) -> torch.Tensor:
        return blocks(tokens).mean(dim=1)

    with (
        sdpa_kernel(SDPBackend.MATH),
        mock.patch.object(roi_pooler, "MAX_CELLS", 0),
        mock.patch.object(TransformerBlocks, "mean", mean),
    ):
        yield


def make_batch(number: int, image_size: tuple[int, int], seed: int, train: bool) -> Batch:
    """Make `number` images of noise, (H, W) in size; to train on, with boxes and masks."""
    generator = torch.Generator().manual_seed(seed)
    height, width = image_size
    batch = []
    for _ in range(number):
        image = torch.randint(256, (3, height, width), dtype=torch.uint8, generator=generator)
        item: dict[str, Any] = {"image": image, "height": height, "width": width}
        if train:
            sides = torch.tensor([width, height] * 2)
            corners = torch.rand(OBJECTS, 2, 2, generator=generator).sort(dim=1).values
            boxes = corners.flatten(1) * 0.9 * sides
            boxes[:, 2:] += 8  # no box without area
            objects = Instances((height, width))
            objects.gt_boxes = Boxes(boxes)
            objects.gt_classes = torch.zeros(OBJECTS, dtype=torch.long)
            ys, xs = torch.arange(height)[:, None], torch.arange(width)
            inside = [(xs >= b[0]) & (xs < b[2]) & (ys >= b[1]) & (ys < b[3]) for b in boxes]
            objects.gt_masks = BitMasks(torch.stack(inside))
            item["instances"] = objects
        batch.append(item)
    return batch
