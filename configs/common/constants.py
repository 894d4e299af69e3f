"""ImageNet's mean and standard deviation of each channel (RGB), on pixels in [0, 255]."""

imagenet = dict(
    pixel_mean=[123.675, 116.28, 103.53],
    pixel_std=[58.395, 57.12, 57.375],
)
