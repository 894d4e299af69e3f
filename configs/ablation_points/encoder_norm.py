"""Should the encoder's final norm be applied to each RoI's tokens, or before them to the whole map?

RoIAlign averages what it reads: a norm of averages is not an average of norms.
"""

points = dict(
    rois=[],  # the paper's
    map=["model.roi_heads.box_head.norm_rois=false"],
)
