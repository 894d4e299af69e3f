"""From a plain detector to imTED (Fig. 2, Table 1): which step gains what?

And what the pre-trained decoder is worth at each of them: the same network, its decoder random.
"""

_NAMES = (
    *("integral", "imted", "decoder_head", "baseline"),
    *("random_decoder", "random_integral", "random_decoder_head"),
)
points = {name: [f"model.roi_heads.variant={name}"] for name in _NAMES}
