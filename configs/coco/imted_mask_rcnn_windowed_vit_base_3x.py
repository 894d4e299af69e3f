"""imTED Mask R-CNN on ViTDet's encoder: window attention, four global blocks, relative positions.

For images too large for global attention in every block. The paper's encoder is the plain one.
"""

from detectron2.config import LazyCall as L

from imted.modeling import WindowedEncoder

from ..common.coco_3x import dataloader, lr_multiplier, optimizer, train
from ..common.models.imted_mask_rcnn_base import model

model.backbone.net = L(WindowedEncoder)(
    img_size=1024,  # sets the length of the relative positions; images may have any size
    patch_size=16,
    embed_dim=768,
    depth=12,
    num_heads=12,
    drop_path_rate=0.1,
    window_size=14,
    window_block_indexes=[0, 1, 3, 4, 6, 7, 9, 10],
    use_rel_pos=True,
    use_act_checkpoint=True,
    out_feature="last_feat",
)
train.output_dir = "output/imted_mask_rcnn_windowed_vit_base_3x"
