"""The modulator's form: must the scale start at zero, does it need one for each channel?

`project_maps` has the 1x1 convolution before RoIAlign, as the paper draws it: the same numbers up
to rounding, at another speed.
"""

_MODULATOR = "model.roi_heads.modulator"
points = dict(
    zero_per_channel=[],  # the paper's
    one_per_channel=[f"{_MODULATOR}.scale_init=1.0"],
    zero_scalar=[f"{_MODULATOR}.scale_per_channel=false"],
    one_scalar=[f"{_MODULATOR}.scale_init=1.0", f"{_MODULATOR}.scale_per_channel=false"],
    project_maps=[f"{_MODULATOR}.project_maps=true"],
    none=["model.roi_heads.variant=integral"],
)
