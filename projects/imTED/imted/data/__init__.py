"""Data for any run: one door to data sets (`dataset`), the check behind it, loaders."""

from imted.data.dataset import CocoDataset, count_classes, dataset_dicts, read_coco

__all__ = ["CocoDataset", "count_classes", "dataset_dicts", "read_coco"]
