"""What is timed: our detector, the same weights in the released way, other configs; and a batch."""

import copy
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from imted.config.load import build, load_config, target_of
from imted.config.resolve import Run
from imted.errors import UserError
from imted.modeling import DecoderBoxHead, ModulatedPooler, roi_pooler
from imted.training.train import build_optimizer

import torch
from detectron2.structures import BitMasks, Boxes, Instances
from omegaconf import DictConfig, OmegaConf
from timm.layers import Mlp
from timm.models.vision_transformer import Block
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

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
        optimizer: The model's optimizer, where it trains.
        dtype: The precision of autocast; None for full precision.
        around: Gives the context that a step runs in.
        seconds: How long each timed step took.
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
            other = _system(name, _released(run), device, train, torch.float16 if cuda else None)
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
    look_at_all(heads)
    torch.manual_seed(cfg.train.seed)
    model = build(cfg.model, "model").to(device).train(train)
    optimizer = None
    if train:
        cfg.optimizer.lr = 0.0  # all keep the weights that they share, and so propose the same RoIs
        optimizer = build_optimizer(cfg, model)
    return System(name, model, optimizer, dtype, nullcontext)


def look_at_all(heads: DictConfig) -> bool:
    """Let random heads look at all RoIs and keep all that they detect, in place.

    Returns:
        Whether `CLASSES` stands for a number of classes that follows from data.
    """
    if "test_objectness_thresh" in heads:
        heads.test_objectness_thresh = 0.0
    if OmegaConf.select(heads, "box_predictor.test_score_thresh") is not None:
        heads.box_predictor.test_score_thresh = 0.0  # no random score is above another
    if isinstance(heads.get("num_classes", 0), int):  # of a pre-training, nothing
        return False
    heads.num_classes = CLASSES
    return True


class ProjectingPooler(ModulatedPooler):
    """The modulator as the paper draws it: the maps are projected, and D channels are pooled."""

    def pool_pyramid(self, pyramid: list[torch.Tensor], boxes: list[Boxes]) -> torch.Tensor:
        """Project the pyramid and pool it: (R, D, S, S)."""
        return self.pyramid_pooler([self.projection(level) for level in pyramid], boxes)


class ReleasedBoxHead(DecoderBoxHead):
    """The decoder as the authors' code runs it: all of its blocks on all tokens, then the mean."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        averaging = self.decoder_blocks[-1]
        averaging.__class__, averaging.mlp.__class__ = Block, Mlp  # the same parameters

    def forward(self, roi_features: torch.Tensor) -> torch.Tensor:
        """Turn RoI features (R, D, h, w) into one vector each, (R, C)."""
        return self.box_norm(self.decoder_blocks(self.embed_rois(roi_features)).mean(dim=1))


def _released(run: Run) -> DictConfig:
    heads = run.cfg.model.get("roi_heads") or DictConfig({})
    parts = {"box_pooler": ModulatedPooler, "box_head": DecoderBoxHead}
    if not all(target_of(heads.get(key) or DictConfig({})) is kind for key, kind in parts.items()):
        raise UserError("released: the config's model isn't imTED's (model.roi_heads.box_pooler).")
    changes = {
        "model.roi_heads.box_pooler._target_": ProjectingPooler,
        "model.roi_heads.box_head._target_": ReleasedBoxHead,
        "model.roi_heads.box_head.use_act_checkpoint": True,
        "model.backbone.net.use_act_checkpoint": True,
    }
    return run.changed(changes).cfg


@contextmanager
def _released_kernels() -> Iterator[None]:
    """Attend by plain softmax, and pool by torchvision's kernel."""
    with sdpa_kernel(SDPBackend.MATH), mock.patch.object(roi_pooler, "MAX_CELLS", 0):
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
