"""imTED Faster R-CNN, ViT-L, on your own COCO-format json: its mask twin without masks."""

from ..common.boxes_only import boxes_only
from ..common.custom import dataloader, dataset, lr_multiplier, model, optimizer, train
from ..common.sizes import large

model.backbone.net.update(large.encoder, drop_path_rate=large.drop_path_rate)
model.roi_heads.box_head.update(large.decoder)
model.roi_heads.update(boxes_only.roi_heads)
dataloader.train.mapper.update(boxes_only.mapper)

train.init_checkpoint = (
    "https://dl.fbaipublicfiles.com/mae/pretrain/mae_pretrain_vit_large_full.pth"
)
train.output_dir = "output/custom_vit_large"
dataloader.train.total_batch_size = 1
train.accumulation_steps = 16
