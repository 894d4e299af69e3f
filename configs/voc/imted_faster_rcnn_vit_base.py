"""imTED Faster R-CNN, ViT-B, PASCAL VOC: trained on trainval 2007 and 2012, tested on test 2007.

The paper has no PASCAL VOC. The schedule is ours: the 36 epochs of configs/coco, shortened to the
16551 images of the two trainval sets. AP50 is VOC's own measure, by its 11 points.
"""

from detectron2.config import LazyCall as L
from detectron2.evaluation import PascalVOCDetectionEvaluator

from ..common.boxes_only import boxes_only
from ..common.coco_3x import dataloader, lr_multiplier, optimizer, train
from ..common.models.imted_faster_rcnn_base import model

ITERATIONS_PER_EPOCH = 1035  # 16551 images, 16 an iteration

model.roi_heads.num_classes = 20
dataloader.train.mapper.update(boxes_only.mapper)
dataloader.train.dataset.names = ["voc_2007_trainval", "voc_2012_trainval"]
dataloader.test.dataset.names = "voc_2007_test"
dataloader.evaluator = L(PascalVOCDetectionEvaluator)(dataset_name="${..test.dataset.names}")

train.max_iter = 36 * ITERATIONS_PER_EPOCH
train.eval_period = train.checkpointer.period = 3 * ITERATIONS_PER_EPOCH
lr_multiplier.warmup_length = 500 / train.max_iter
train.output_dir = "output/voc/imted_faster_rcnn_vit_base"
