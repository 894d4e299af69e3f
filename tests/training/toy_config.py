"""A LazyConfig that trains in a second; toy_training.py must be on the path."""

import torch
from detectron2.config import LazyCall as L
from detectron2.data import build_detection_test_loader
from detectron2.solver.build import get_default_optimizer_params
from fvcore.common.param_scheduler import CosineParamScheduler
from toy_training import RandomMapper, ToyEvaluator, ToyModel, plain_mapper, toy_dataset

from imted.data.train_loader import build_train_loader

model = L(ToyModel)(dropout=0.2)
train = dict(
    output_dir="output",
    init_checkpoint="",
    max_iter=6,
    seed=1,
    device="cpu",
    amp=dict(enabled=False, dtype="bf16"),
    accumulation_steps=2,
    clip_grad=dict(enabled=True, max_norm=1.0, norm_type=2.0),
    frozen=[],
    frozen_eval=True,
    ema=dict(enabled=True, decay=0.9),
    ddp=dict(broadcast_buffers=False, find_unused_parameters=False, fp16_compression=False),
    checkpointer=dict(period=3, max_to_keep=5),
    eval_period=3,
    best_metric="bbox/AP",
    log_period=1,
)
dataloader = dict(
    train=L(build_train_loader)(
        dataset=L(toy_dataset)(size=10),
        mapper=L(RandomMapper)(),
        total_batch_size=2,
        num_workers=0,
        seed="${train.seed}",
    ),
    test=L(build_detection_test_loader)(dataset=L(toy_dataset)(size=5), mapper=plain_mapper),
    evaluator=L(ToyEvaluator)(),
)
optimizer = L(torch.optim.AdamW)(
    params=L(get_default_optimizer_params)(base_lr="${..lr}"), lr=0.01, weight_decay=0.1
)
lr_multiplier = L(CosineParamScheduler)(start_value=1.0, end_value=0.0)
