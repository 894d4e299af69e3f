"""ViTDet's simple feature pyramid that also hands on the encoder's own feature."""

import torch
from detectron2.modeling.backbone import SimpleFeaturePyramid


class EncoderPyramid(SimpleFeaturePyramid):
    """Pyramid for proposals, modulator and masks, plus the encoder feature for the box decoder.

    Arguments are those of Detectron2's ``SimpleFeaturePyramid``. The output has one entry more,
    the encoder's feature map under its own name (`in_feature`).
    """

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        encoder_shape = self.net.output_shape()[self.in_feature]
        self._pyramid_features = list(self._out_features)
        self._out_features.append(self.in_feature)
        self._out_feature_channels[self.in_feature] = encoder_shape.channels
        self._out_feature_strides[self.in_feature] = encoder_shape.stride

    @property
    def size_divisibility(self) -> int:
        """What both sides of an image are padded to a multiple of.

        Detectron2's ``SimpleFeaturePyramid`` misspells this key in its `padding_constraints`, so
        that images would not be padded and would lose the rows and columns of a started patch.
        """
        return self._size_divisibility

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Compute {"p2": (N, C, H/4, W/4), …, in_feature: (N, D, H/16, W/16)}.

        Args:
            images: Normalised images (N, 3, H, W); both sides multiples of `size_divisibility`.
        """
        encoder_feature = self.net(images)[self.in_feature]
        maps = [stage(encoder_feature) for stage in self.stages]
        if self.top_block is not None:
            maps.extend(
                self.top_block(maps[self._pyramid_features.index(self.top_block.in_feature)])
            )
        return {
            **dict(zip(self._pyramid_features, maps, strict=True)),
            self.in_feature: encoder_feature,
        }
