"""Learning rate schedules: the factor on the learning rate from the first iteration to the last."""

from detectron2.config import LazyCall as L
from detectron2.solver import WarmupParamScheduler
from fvcore.common.param_scheduler import (
    CompositeParamScheduler,
    ConstantParamScheduler,
    CosineParamScheduler,
    MultiStepParamScheduler,
)

# COCO train2017 has 117266 images with annotations; 16 images an iteration.
ITERATIONS_PER_EPOCH = 7330

# 36 epochs, a tenth of the rate after 27 and again after 33, 500 iterations of warm-up.
coco_3x = L(WarmupParamScheduler)(
    scheduler=L(MultiStepParamScheduler)(
        values=[1.0, 0.1, 0.01],
        milestones=[27 * ITERATIONS_PER_EPOCH, 33 * ITERATIONS_PER_EPOCH],
        num_updates=36 * ITERATIONS_PER_EPOCH,
    ),
    warmup_factor=0.001,
    warmup_length=500 / (36 * ITERATIONS_PER_EPOCH),
)

# A cosine that fits any number of iterations, with a twentieth of them as warm-up.
cosine = L(WarmupParamScheduler)(
    scheduler=L(CosineParamScheduler)(start_value=1.0, end_value=0.0),
    warmup_factor=0.001,
    warmup_length=0.05,
)

# A constant rate, and a cosine for the last fifth. What has run at the constant rate is the start
# of a schedule of any length: a checkpoint after N iterations ends well with max_iter=N/0.8.
constant_then_cosine = L(WarmupParamScheduler)(
    scheduler=L(CompositeParamScheduler)(
        schedulers=[
            L(ConstantParamScheduler)(value=1.0),
            L(CosineParamScheduler)(start_value=1.0, end_value=0.0),
        ],
        lengths=[0.8, 0.2],
        interval_scaling=["rescaled", "rescaled"],
    ),
    warmup_factor=0.001,
    warmup_length=0.02,
)
