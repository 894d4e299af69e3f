"""What several configs state: where data are, and ImageNet's normalisation."""

from types import MappingProxyType

# The folder of all data, as Detectron2 has it.
DATASETS = "${oc.env:DETECTRON2_DATASETS,datasets}"

# Mean and standard deviation of each channel (RGB), on pixels in [0, 255].
imagenet = MappingProxyType(
    dict(
        pixel_mean=[123.675, 116.28, 103.53],
        pixel_std=[58.395, 57.12, 57.375],
    )
)
