"""Fig. 2(b), the MAE decoder on the encoder's feature alone; 43.2 box AP in the paper.

The last rung, imTED itself (44.0 in the paper), is configs/coco/imted_faster_rcnn_vit_base_3x.py.
The paper's schedule for its ladder is not published; all rungs here train as that config does.
"""

from ..coco.imted_faster_rcnn_vit_base_3x import dataloader, lr_multiplier, model, optimizer, train

model.roi_heads.rung = "integral"
train.output_dir = "output/ablation/integral"
