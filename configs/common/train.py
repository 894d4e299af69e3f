"""Everything about a run that is neither model, data nor optimizer.

The defaults are those of imted/config/settings.py, which states the type and range of each key.
"""

import torch

train = dict(
    output_dir="./output",  # checkpoints, log.txt, metrics.json, results.json
    init_checkpoint="",  # a MAE's to migrate, or a detector's; a path or any URL that iopath reads
    max_iter=90000,  # optimizer steps
    epochs=None,  # in place of max_iter; eval_period and checkpointer.period are then epochs, too
    accumulation_steps=1,  # batches per optimizer step
    overwrite=False,  # whether a new run may take the place of the one that output_dir holds
    seed=0,  # of weights, data order and augmentation
    device="cuda" if torch.cuda.is_available() else "cpu",  # or one such as cuda:1
    # Mixed precision; fp16 needs a GPU. A CPU that is not faster in bf16 leaves it, unless it is
    # enabled on the command line.
    amp=dict(enabled=False, dtype="bf16"),
    # The norm of all gradients together.
    clip_grad=dict(enabled=False, max_norm=1.0, norm_type=2.0),
    max_bad_steps=30,  # in a row without a finite loss and gradient, each skipped, end the run
    frozen=[],  # parts of the model that don't train, such as "backbone"
    frozen_eval=True,  # frozen parts run in evaluation mode: no drop path, no new statistics
    # An exponential moving average of the weights, which evaluation then uses.
    ema=dict(enabled=False, decay=0.9998),
    # Arguments of DistributedDataParallel, and gradients sent in half precision.
    ddp=dict(
        broadcast_buffers=False,
        find_unused_parameters=False,
        fp16_compression=False,
        bf16_compression=False,
        bucket_cap_mb=25,
    ),
    shard_optimizer=False,  # each process keeps a part of the optimizer's state; for large models
    # To resume from: every so many iterations; the newest so many are kept, null keeps all.
    checkpointer=dict(period=5000, max_to_keep=3),
    eval_period=5000,  # iterations; 0 evaluates at the end alone
    best_metric="bbox/AP",  # model_best.pth is the best by this result; "" keeps none
    # Evaluations in a row that are no better end the run; null trains to the end.
    early_stop=dict(patience=None),
    validation_loss=False,  # evaluations compute the losses of the test set: validation/total_loss
    validation_images=0,  # test images that evaluations draw for TensorBoard, beside the truth
    log_period=20,  # iterations
    # Weights & Biases, a package installed apart; null: the user that is logged in, output_dir.
    wandb=dict(enabled=False, project="imted", entity=None, name=None),
)
