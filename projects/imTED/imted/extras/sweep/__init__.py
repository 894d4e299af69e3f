"""Sweeps: many runs of one config, as points of a grid or by name; launched, watched, compared."""
