"""Simple feature pyramids that also hand on the encoder's own feature: ViTDet's, and imTED's own.

Shapes: N images of H x W pixels, D encoder channels, C pyramid channels.
"""

from functools import partial
from typing import Any

import torch
from detectron2.layers import Conv2d, get_norm
from detectron2.layers.batch_norm import LayerNorm
from detectron2.modeling.backbone import SimpleFeaturePyramid
from torch import nn


class EncoderPyramid(SimpleFeaturePyramid):
    """Pyramid for proposals, modulator and masks, plus the encoder feature for the box decoder.

    The output has one entry more than that of Detectron2's ``SimpleFeaturePyramid``, the
    encoder's feature map under its own name.
    """

    def __init__(self, *, encoder_feature: str | None = None, **kwargs: Any) -> None:
        """Build the modules.

        Args:
            encoder_feature: Name of the encoder feature to hand on; `in_feature` by default.
            **kwargs: See Detectron2's ``SimpleFeaturePyramid``.
        """
        super().__init__(**kwargs)
        self.encoder_feature = encoder_feature or self.in_feature
        encoder_shape = self.net.output_shape()[self.encoder_feature]
        self._pyramid_features = list(self._out_features)
        self._out_features.append(self.encoder_feature)
        self._out_feature_channels[self.encoder_feature] = encoder_shape.channels
        self._out_feature_strides[self.encoder_feature] = encoder_shape.stride

    @property
    def size_divisibility(self) -> int:
        """What both sides of an image are padded to a multiple of.

        Detectron2's ``SimpleFeaturePyramid`` misspells this key in its `padding_constraints`, so
        that images would not be padded and would lose the rows and columns of a started patch.
        """
        return self._size_divisibility

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Compute {"p2": (N, C, H/4, W/4), …, encoder_feature: (N, D, H/16, W/16)}.

        Args:
            images: Normalised images (N, 3, H, W); both sides multiples of `size_divisibility`.
        """
        features = self.net(images)
        maps = [stage(features[self.in_feature]) for stage in self.stages]
        if self.top_block is not None:
            maps.extend(
                self.top_block(maps[self._pyramid_features.index(self.top_block.in_feature)])
            )
        return {
            **dict(zip(self._pyramid_features, maps, strict=True)),
            self.encoder_feature: features[self.encoder_feature],
        }


class ReleasedPyramid(EncoderPyramid):
    """The pyramid of the detectors that imTED's authors released.

    It differs from ViTDet's in what comes before a level's two convolutions: the upsamplings keep
    all D channels, with a batch norm between the two of p2. The layer norms' epsilon is 1e-5.
    """

    def __init__(self, *, norm: str = "SyncBN", **kwargs: Any) -> None:
        """Build the modules.

        Args:
            norm: Between the upsamplings of p2, a name that Detectron2's ``get_norm`` knows.
                "SyncBN" needs GPUs where several processes train; "BN" has the same parameters.
            **kwargs: See `EncoderPyramid`.
        """
        layer_norm = partial(LayerNorm, eps=1e-5)
        super().__init__(norm=layer_norm, **kwargs)
        dim = self.net.output_shape()[self.in_feature].channels
        out_channels = self._out_feature_channels[self._pyramid_features[0]]
        for scale, stage in zip(self.scale_factors, self.stages, strict=True):
            if scale <= 1:
                continue
            stage[0] = _upsampling(dim)
            if scale == 4:
                stage[1], stage[3] = get_norm(norm, dim), _upsampling(dim)
            stage[-2] = Conv2d(
                dim, out_channels, kernel_size=1, bias=False, norm=layer_norm(out_channels)
            )


def _upsampling(dim: int) -> nn.Module:
    return nn.ConvTranspose2d(dim, dim, kernel_size=2, stride=2)
