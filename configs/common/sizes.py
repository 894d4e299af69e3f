"""Widths and depths of encoder and decoder. B, L, H are MAE's own, S is imTED's, T is ours.

`drop_path_rate` is that of the encoder in a detector; pre-training has none.
"""

from types import SimpleNamespace

tiny = SimpleNamespace(
    encoder=dict(embed_dim=192, depth=6, num_heads=3, pretrain_img_size=192),
    decoder=dict(dim=128, depth=2, num_heads=4, grid_size=12),
)
small = SimpleNamespace(
    encoder=dict(embed_dim=384, depth=12, num_heads=6),
    decoder=dict(dim=256, depth=4, num_heads=8),
    drop_path_rate=0.1,
)
base = SimpleNamespace(
    encoder=dict(embed_dim=768, depth=12, num_heads=12),
    decoder=dict(dim=512, depth=8, num_heads=16),
    drop_path_rate=0.2,
)
large = SimpleNamespace(
    encoder=dict(embed_dim=1024, depth=24, num_heads=16),
    decoder=dict(dim=512, depth=8, num_heads=16),
    drop_path_rate=0.3,
)
huge = SimpleNamespace(
    encoder=dict(embed_dim=1280, depth=32, num_heads=16),
    decoder=dict(dim=512, depth=8, num_heads=16),
    drop_path_rate=0.5,  # ViTDet's
)
