"""imTED Faster R-CNN, ViT-L, as its authors released it: 55.4 box AP in their table."""

from ..common.boxes_only import boxes_only
from ..common.models.imted_released_mask_rcnn import model
from ..common.released_3x import dataloader, lr_multiplier, optimizer, train
from ..common.sizes import large

model.backbone.net.update(large.encoder, drop_path_rate=large.drop_path_rate)
model.backbone.net.early_blocks = [12]
model.backbone.in_feature = "block12"
model.roi_heads.box_head.update(large.decoder)
model.roi_heads.update(boxes_only.roi_heads)
dataloader.train.mapper.update(boxes_only.mapper)

train.init_checkpoint = (
    "https://dl.fbaipublicfiles.com/mae/pretrain/mae_pretrain_vit_large_full.pth"
)
train.output_dir = "output/released/imted_faster_rcnn_vit_large"
