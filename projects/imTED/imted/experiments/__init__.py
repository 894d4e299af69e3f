"""Experiments beyond detection on COCO; each is a folder that the rest does without."""
