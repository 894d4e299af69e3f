"""imTED Faster R-CNN, ViT-B: fine-tuning at K shots (10) on all 80 classes, 108 epochs.

23.0 box AP on the novel classes at 10 shots and 30.4 at 30 in the authors' table, from their own
choice of instances. Weights come from tools/extend_classes.py.

python train_net.py --config-file configs/few_shot/imted_faster_rcnn_vit_base_fine_tuning.py \
    few_shot.shots=30 few_shot.seed=1
"""

from detectron2.config import LazyCall as L
from detectron2.solver import WarmupParamScheduler
from fvcore.common.param_scheduler import MultiStepParamScheduler

from ..common.boxes_only import boxes_only
from ..common.coco_3x import optimizer, train
from ..common.constants import DATASETS
from ..common.data.coco_json import dataloader, dataset
from ..common.models.imted_faster_rcnn_base import model
from .common import evaluator as _evaluator
from .common import few_shot

dataloader.train.mapper.update(boxes_only.mapper)
dataset.train_json = DATASETS + "/coco_few_shot/${few_shot.setting}_seed${few_shot.seed}.json"
dataloader.evaluator = _evaluator

# Encoder and upsamplings; the pyramid's other convolutions, RPN, modulator and head train.
train.frozen = ["backbone.net"]
train.frozen += [f"backbone.simfp_{layer}" for layer in ("2.0", "2.1", "2.3", "3.0")]
optimizer.params.layer_decay = 0.8
optimizer.params.decay_decoder = True

# K shots are at most 80 K images, 16 an iteration: 108 epochs are at most 540 K iterations.
few_shot.schedule = {
    f"{shots}shot": dict(max_iter=540 * shots, eval_period=30 * shots)
    for shots in (1, 2, 3, 5, 10, 30)
}
train.max_iter = "${few_shot.schedule.${few_shot.setting}.max_iter}"
train.eval_period = "${few_shot.schedule.${few_shot.setting}.eval_period}"  # 6 epochs
train.checkpointer.period = "${train.eval_period}"
lr_multiplier = L(WarmupParamScheduler)(
    scheduler=L(MultiStepParamScheduler)(
        values=[1.0, 0.1, 0.01], milestones=[81, 99], num_updates=108
    ),
    warmup_factor=0.001,
    warmup_length=500 / 5400,  # 500 iterations at 10 shots
)
train.best_metric = "bbox/nAP"
train.init_checkpoint = "output/few_shot/extended.pth"
train.output_dir = "output/few_shot/${few_shot.setting}_seed${few_shot.seed}"
