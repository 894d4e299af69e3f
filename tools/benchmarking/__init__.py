"""Timing of detectors, of their stages, and of the evaluation."""
