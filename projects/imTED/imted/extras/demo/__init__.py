"""Detectors on files, folders, videos and cameras: what demo/demo.py does."""
