"""Windowed against global attention in the encoder.

Of the tiny encoder's six blocks, four attend in windows of 4 x 4 patches.
"""

_NET = "model.backbone.net"
_WINDOWED = (
    "{_target_:imted.modeling.WindowedEncoder,img_size:192,patch_size:16,embed_dim:192,depth:6,"
    "num_heads:3,drop_path_rate:0.0,window_size:4,window_block_indexes:[0,1,3,4],"
    "use_rel_pos:false,use_act_checkpoint:false,out_feature:last_feat}"
)
points = {"global": [], "windowed": [f"{_NET}={_WINDOWED}"]}
