"""imTED Faster R-CNN, ViT-B, on your own COCO-format json: its mask twin without masks."""

from ..common.boxes_only import boxes_only
from ..common.custom import dataloader, dataset, lr_multiplier, model, optimizer, train

model.roi_heads.update(boxes_only.roi_heads)
dataloader.train.mapper.update(boxes_only.mapper)

train.output_dir = "output/custom_vit_base"
dataloader.train.total_batch_size = 2
train.accumulation_steps = 8
