"""The modulator's form: must the scale start at zero, does it need one for each channel?"""

_MODULATOR = "model.roi_heads.box_pooler"
points = dict(
    zero_per_channel=[],  # the paper's
    one_per_channel=[f"{_MODULATOR}.scale_init=1.0"],
    zero_scalar=[f"{_MODULATOR}.scale_per_channel=false"],
    one_scalar=[f"{_MODULATOR}.scale_init=1.0", f"{_MODULATOR}.scale_per_channel=false"],
    none=["model.roi_heads.variant=integral"],
)
