"""How much of the gain is the head's size? A random decoder of other depths, widths and RoI sizes.

Depth and width of a pre-trained one are its MAE's; RoIs of 14 x 14 interpolate its positions.
"""

_RANDOM = "model.roi_heads.variant=random_decoder"
_DECODER = "model.roi_heads.box_head"
points = dict(
    pretrained=[],
    pretrained_roi_14=["model.roi_heads.box_pooler.encoder_pooler.output_size=14"],
    random=[_RANDOM],
    random_depth_1=[_RANDOM, f"{_DECODER}.depth=1"],
    random_depth_4=[_RANDOM, f"{_DECODER}.depth=4"],
    random_width_64=[_RANDOM, f"{_DECODER}.dim=64"],
    random_width_256=[_RANDOM, f"{_DECODER}.dim=256"],
)
