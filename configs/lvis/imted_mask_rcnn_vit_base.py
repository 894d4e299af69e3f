"""imTED Mask R-CNN, ViT-B, LVIS v1: 1203 classes, many of them rare.

The paper has no LVIS. What LVIS needs is as in Detectron2's ViTDet: images of rare classes
repeated, sigmoid and federated loss, 300 detections above 0.02. The schedule is ours: the 36
epochs of configs/coco over the images of LVIS. Needs the package lvis.
"""

from detectron2.config import LazyCall as L

from imted.data.lvis import LVISEvaluator, federated_loss_weights

from ..common.coco_3x import dataloader, lr_multiplier, optimizer, train
from ..common.models.imted_mask_rcnn_base import model

ITERATIONS_PER_EPOCH = 6261  # 100170 images, 16 an iteration, repetitions not counted

model.roi_heads.num_classes = 1203
model.roi_heads.box_predictor.update(
    use_sigmoid_ce=True,
    use_fed_loss=True,
    get_fed_loss_cls_weights=L(federated_loss_weights)(
        dataset="${dataloader.train.dataset.names}", power=0.5
    ),
    test_score_thresh=0.02,
    test_topk_per_image=300,
)

dataloader.train.dataset.names = "lvis_v1_train"
dataloader.train.repeat_threshold = 0.001
dataloader.test.dataset.names = "lvis_v1_val"
dataloader.evaluator = L(LVISEvaluator)(
    dataset_name="${..test.dataset.names}",
    output_dir="${train.output_dir}/inference",
    max_dets_per_image=300,
)

train.max_iter = 36 * ITERATIONS_PER_EPOCH
train.eval_period = train.checkpointer.period = 3 * ITERATIONS_PER_EPOCH
lr_multiplier.warmup_length = 500 / train.max_iter
train.output_dir = "output/lvis/imted_mask_rcnn_vit_base"
