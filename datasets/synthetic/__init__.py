"""Synthetic shapes with exact truth: images, masks and how much of each object is hidden."""
