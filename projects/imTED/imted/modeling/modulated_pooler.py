"""The multi-scale feature modulator (MFM) of imTED (Sec. 3.3, Fig. 3).

Shapes: R RoIs of all images, D encoder channels, C pyramid channels, S x S the pooled size.
"""

import torch
from detectron2.modeling.poolers import ROIPooler
from detectron2.structures import Boxes
from torch import nn


class ModulatedPooler(nn.Module):
    """Pool the encoder feature and add the pyramid's through a per-channel scale.

    ``features = encoder RoIs + scale * projection(pyramid RoIs)``. The scale starts at zero, so
    at the first step the decoder sees exactly what MAE's decoder saw in pre-training.

    The paper projects the pyramid maps and then pools. Both steps are linear and RoIs lie inside
    the image, so pooling first gives the same; it pools C channels rather than D and projects
    R * S * S positions rather than four whole maps.
    """

    def __init__(
        self,
        *,
        encoder_pooler: ROIPooler,
        pyramid_pooler: ROIPooler,
        encoder_dim: int,
        pyramid_channels: int,
        scale_init: float = 0.0,
        scale_per_channel: bool = True,
    ) -> None:
        """Build the modules.

        Args:
            encoder_pooler: RoIAlign on the single encoder feature.
            pyramid_pooler: RoIAlign on the pyramid, one level per RoI by its size.
            encoder_dim: Channels of the encoder feature (D).
            pyramid_channels: Channels of the pyramid (C).
            scale_init: What the scale starts at; the paper's is 0.
            scale_per_channel: Learn a scale for each of the D channels, as the released code
                does, or one for all.
        """
        super().__init__()
        self.encoder_pooler = encoder_pooler
        self.pyramid_pooler = pyramid_pooler
        self.pyramid_channels = pyramid_channels
        self.projection = nn.Conv2d(pyramid_channels, encoder_dim, kernel_size=1)
        channels = encoder_dim if scale_per_channel else 1
        self.scale = nn.Parameter(torch.full((channels,), float(scale_init)))

    def forward(self, features: list[torch.Tensor], boxes: list[Boxes]) -> torch.Tensor:
        """Pool RoI features.

        Args:
            features: The pyramid maps (N, C, ., .) from fine to coarse, then the encoder feature
                (N, D, ., .).
            boxes: N sets of boxes in image coordinates.

        Returns:
            (R, D, S, S).
        """
        *pyramid, encoder_feature = features
        single_scale = self.encoder_pooler([encoder_feature], boxes)
        multi_scale = self.pool_pyramid(pyramid, boxes)
        return single_scale + self.scale[:, None, None] * multi_scale

    def pool_pyramid(self, pyramid: list[torch.Tensor], boxes: list[Boxes]) -> torch.Tensor:
        """Pool the pyramid and project it: (R, D, S, S)."""
        projected = self.projection(self.pyramid_pooler(pyramid, boxes))
        # RoIAlign gives zeros where a box has no area, and projecting has added the bias to them.
        has_area = torch.cat([box.area() for box in boxes]) > 0
        return projected * has_area[:, None, None, None]
