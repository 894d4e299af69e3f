"""The check of a user's COCO json and images before training."""
