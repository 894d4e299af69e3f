"""imTED Faster R-CNN, ViT-S, on your own COCO-format json: its mask twin without masks."""

from ..common.boxes_only import boxes_only
from ..common.custom import dataloader, dataset, lr_multiplier, model, optimizer, train
from ..common.sizes import small

model.backbone.net.update(small.encoder, drop_path_rate=small.drop_path_rate)
model.roi_heads.box_head.update(small.decoder)
model.roi_heads.update(boxes_only.roi_heads)
dataloader.train.mapper.update(boxes_only.mapper)

# MAE has no ViT-S: pre-train one (docs/pretraining.md) or name a file.
train.init_checkpoint = "output/mae_vit_small/mae_final.safetensors"
train.output_dir = "output/custom_vit_small"
dataloader.train.total_batch_size = 4
train.accumulation_steps = 4
