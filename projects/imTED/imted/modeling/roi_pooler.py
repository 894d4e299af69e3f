"""RoIAlign that trains faster on the small maps of small images, on a CPU.

RoIAlign averages bilinear samples on a grid. A grid's rows and columns are independent, and so are
the bilinear weights, hence ``RoI = Ay @ map @ Ax.T`` with one matrix for the rows (bins x H) and
one for the columns (bins x W). On a small map these products and their gradients are faster than
torchvision's kernel for CPUs, whose backward pass runs on one thread. Its forward pass alone is
the faster one, and on a large map most of the products' factors would be zero.

Shapes: N maps of C channels, (N, C, H, W); R RoIs; S bins a side.
"""

from typing import Any

import torch
from detectron2.layers import ROIAlign
from detectron2.modeling.poolers import ROIPooler as D2ROIPooler

MAX_CELLS = 48 * 48
"""H * W up to which the products are used."""


class ROIPooler(D2ROIPooler):
    """Detectron2's ``ROIPooler`` with "ROIAlignV2": the same arguments, the same values."""

    def __init__(self, output_size: int, scales: Any, sampling_ratio: int, **kwargs: Any) -> None:
        """Build the modules.

        Args:
            output_size: S.
            scales: The scale of each level, 1 / stride.
            sampling_ratio: Samples a side of a bin; 0 takes as many as cover it.
            **kwargs: See Detectron2's ``ROIPooler``.
        """
        super().__init__(output_size, scales, sampling_ratio, "ROIAlignV2", **kwargs)
        for level, align in enumerate(self.level_poolers):
            self.level_poolers[level] = SeparableROIAlign(
                align.output_size, align.spatial_scale, sampling_ratio, True
            )


class SeparableROIAlign(ROIAlign):
    """Detectron2's ``ROIAlign``, by products of matrices where these are faster."""

    def forward(self, input: torch.Tensor, rois: torch.Tensor) -> torch.Tensor:
        """Pool RoIs.

        Args:
            input: (N, C, H, W).
            rois: (R, 5), the number of the map and XYXY in pixels of the image.

        Returns:
            (R, C, S, S).
        """
        trains = torch.is_grad_enabled() and input.requires_grad
        if torch.jit.is_tracing() or input.device.type != "cpu" or not trains:
            return super().forward(input, rois)
        if input.shape[2] * input.shape[3] > MAX_CELLS:
            return super().forward(input, rois)
        # As torchvision's kernel does, the average is taken in full precision under autocast.
        with torch.autocast("cpu", enabled=False):
            full = input.float() if input.dtype in (torch.float16, torch.bfloat16) else input
            return self._pool(full, rois.to(full)).to(input.dtype)

    def _pool(self, maps: torch.Tensor, rois: torch.Tensor) -> torch.Tensor:
        channels, height, width = maps.shape[1:]
        bins_y, bins_x = self.output_size
        edges = rois[:, 1:] * self.spatial_scale - (0.5 if self.aligned else 0.0)
        rows = bin_weights(edges[:, 1], edges[:, 3], height, bins_y, self.sampling_ratio)
        columns = bin_weights(edges[:, 0], edges[:, 2], width, bins_x, self.sampling_ratio)
        of_map = rois[:, 0].long()
        order = torch.argsort(of_map, stable=True)
        counts = torch.bincount(of_map, minlength=len(maps)).tolist()
        pooled = []
        for n, members in enumerate(order.split(counts)):
            # (members * S, H) @ (H, W * C): the rows of all RoIs in one product.
            by_row = rows[members].flatten(0, 1) @ maps[n].permute(1, 2, 0).flatten(1)
            by_row = by_row.view(len(members), bins_y, width, channels)
            pooled.append(columns[members][:, None] @ by_row)
        return torch.cat(pooled)[torch.argsort(order)].permute(0, 3, 1, 2)


def bin_weights(
    start: torch.Tensor, end: torch.Tensor, size: int, bins: int, sampling_ratio: int
) -> torch.Tensor:
    """Return how much each cell of an axis counts in each bin of each RoI.

    Args:
        start: Where each RoI begins, in cells, (R,); 0 is the centre of the first cell.
        end: Where it ends, (R,).
        size: Number of cells.
        bins: S.
        sampling_ratio: Samples of a bin; 0 takes one for each cell that it covers or begins.

    Returns:
        (R, S, size). A row sums to 1 unless samples lie more than a cell outside, where RoIAlign
        reads zeros.
    """
    length = (end - start) / bins
    samples = torch.full_like(length, sampling_ratio) if sampling_ratio > 0 else length.ceil()
    most = max(int(samples.max()), 1) if len(samples) else 1
    step = torch.arange(most, device=start.device)
    divisor = samples.clamp(min=1)[:, None]
    offset = (step + 0.5) / divisor  # in bins, (R, most)
    bin_ = torch.arange(bins, device=start.device)[:, None]
    at = start[:, None, None] + (bin_ + offset[:, None]) * length[:, None, None]  # (R, S, most)
    counts = (step < samples[:, None])[:, None] & (at >= -1) & (at <= size)
    cells = torch.arange(size, device=start.device)
    nearness = (1 - (at.clamp(0, size - 1)[..., None] - cells).abs()).clamp(min=0)
    return (nearness * counts[..., None]).sum(2) / divisor[:, None]
