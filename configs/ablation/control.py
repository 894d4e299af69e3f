"""The control of Table 1: imTED with a decoder of the same shape at random.

The last rung, imTED itself (44.0 in the paper), is configs/coco/imted_faster_rcnn_vit_base_3x.py.
The paper's schedule for its ladder is not published; all rungs here train as that config does.
"""

from ..coco.imted_faster_rcnn_vit_base_3x import dataloader, lr_multiplier, model, optimizer, train

model.roi_heads.rung = "control"
train.output_dir = "output/ablation/control"
