"""What a detector of the synthetic shapes trains with on a CPU: values of its groups.

Many small steps: RoIs are what a CPU spends its time on, and one box regressor for all classes
learns from every object. docs/performance.md has what was tried.
"""

from types import SimpleNamespace

small_steps = SimpleNamespace(
    proposal_generator=dict(post_nms_topk=(300, 100)),
    roi_heads=dict(num_classes=6, batch_size_per_image=32),
    box_predictor=dict(
        cls_agnostic_bbox_reg=True,
        # The box loss is a mean over all RoIs, of which few are positive.
        loss_weight=dict(loss_cls=1.0, loss_box_reg=20.0),
    ),
)
