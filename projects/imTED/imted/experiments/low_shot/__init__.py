"""Low shots: training on a part of the images."""
