"""Data for any run: COCO json, catalog, loader, images for pre-training."""
