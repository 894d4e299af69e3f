"""A detector that knows by heart what it finds in three images of PASCAL VOC."""

import torch
from detectron2.structures import Boxes, Instances
from torch import nn

CAT, DOG = 7, 11  # in VOC's alphabetical list of classes
# image: (class, score, box in pixels from the corner)
FOUND = {
    "000001": [(CAT, 0.9, (0, 0, 9, 9)), (CAT, 0.8, (10, 10, 60, 60))],  # the first is not there
    "000002": [(CAT, 0.7, (20, 30, 90, 80))],
    "000003": [(DOG, 0.6, (10, 10, 82, 60))],
}


class Oracle(nn.Module):
    """Give the boxes of `FOUND` for images that come as the config's test loader makes them."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, batch):
        return [{"instances": self._found(sample)} for sample in batch]

    def _found(self, sample):
        classes, scores, boxes = zip(*FOUND[sample["image_id"]], strict=True)
        return Instances(
            (sample["height"], sample["width"]),
            pred_classes=torch.tensor(classes),
            scores=torch.tensor(scores),
            pred_boxes=Boxes(torch.tensor(boxes, dtype=torch.float32)),
        )
