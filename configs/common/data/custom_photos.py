"""Any COCO-format json, images of the size of photos: four paths are all it needs.

The json files are checked before training; the number of classes and whether there are masks
come from them. Augmentation is COCO's here: flips, crops, a short side of 480 to 800 pixels.
"""

from .coco_json import dataloader, dataset

dataset.update(
    train_json="",  # COCO-format annotations to train on
    train_images="",  # the folder that its file names start from
    val_json="",  # held-out annotations
    val_images="",
)
