"""What toy_config.py trains: a few numbers, with everything random that a real model has."""

import random

import numpy as np
import torch
from detectron2.utils import comm
from torch import nn


class ToyModel(nn.Module):
    """Two losses, each a mean over the images of the batch."""

    def __init__(self, dim: int = 8, dropout: float = 0.2, batch_norm: bool = False):
        super().__init__()
        self.norm = nn.BatchNorm1d(4) if batch_norm else nn.Identity()
        self.net = nn.Sequential(nn.Linear(4, dim), nn.Dropout(dropout), nn.Linear(dim, 1))

    def forward(self, batch):
        x = torch.stack([sample["x"] for sample in batch]).to(self.net[0].weight.device)
        y = self.net(self.norm(x))
        if not self.training:
            return [{"y": value.item()} for value in y]
        return {"loss_a": (y**2).mean(), "loss_b": (y - 1).abs().mean()}


def toy_dataset(size: int = 10) -> list[dict]:
    generator = torch.Generator().manual_seed(0)
    return [
        {"id": i, "x": torch.randn(4, generator=generator), "width": 1 + i % 2, "height": 1}
        for i in range(size)
    ]


def plain_mapper(sample: dict) -> dict:
    return sample


class RandomMapper:
    """Draw from the three generators that augmentations draw from, or reject every image."""

    def __init__(self, reject: bool = False):
        self.reject = reject

    def __call__(self, sample: dict) -> dict | None:
        noise = torch.randn(4) + random.random() + float(np.random.rand())
        return None if self.reject else {**sample, "x": sample["x"] + 0.1 * noise}


class ToyEvaluator:
    """AP is the mean output over the images of all processes; APs was never measured."""

    def reset(self):
        self.outputs = []

    def process(self, inputs, outputs):
        self.outputs += [output["y"] for output in outputs]

    def evaluate(self):
        outputs = np.concatenate(comm.all_gather(self.outputs))
        return {"bbox": {"AP": float(np.mean(outputs)), "APs": float("nan")}}
