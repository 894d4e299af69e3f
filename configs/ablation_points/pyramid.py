"""Which block should the pyramid grow from? The tiny encoder has six; the last is the default.

The authors' released code takes an earlier one. Write other numbers for a deeper encoder.
"""

points = dict(
    last=[],
    **{
        f"block_{number}": [
            f"model.backbone.net.early_blocks=[{number}]",
            f"model.backbone.in_feature=block{number}",
            "model.backbone.encoder_feature=last_feat",  # the decoder's stays
        ]
        for number in (2, 4)
    },
)
