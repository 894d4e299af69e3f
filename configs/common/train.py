"""Everything about a run that is neither model, data nor optimizer."""

train = dict(
    output_dir="./output",  # checkpoints, logs, metrics.json, results.json
    init_checkpoint="",  # a MAE checkpoint to migrate, or a detector's; a path or any iopath URL
    max_iter=90000,  # optimizer steps
    seed=0,  # of weights, data order and augmentation
    device="auto",  # "auto" (a GPU if there is one), "cuda" or "cpu"
    amp=dict(enabled=False, dtype="bf16"),  # mixed precision: "bf16" or "fp16" (GPU only)
    accumulation_steps=1,  # batches per optimizer step
    clip_grad=dict(enabled=False, max_norm=1.0, norm_type=2.0),
    frozen=[],  # parts of the model that don't train, such as "backbone"
    frozen_eval=True,  # nor do their statistics, dropout and drop path: evaluation mode
    ema=dict(enabled=False, decay=0.9998),  # average of the weights, used for evaluation
    ddp=dict(broadcast_buffers=False, find_unused_parameters=False, fp16_compression=False),
    checkpointer=dict(period=5000, max_to_keep=3),  # iterations, files
    eval_period=5000,  # iterations; 0: only at the end
    best_metric="bbox/AP",  # keep model_best.pth by this result; "": do not
    log_period=20,  # iterations
)
