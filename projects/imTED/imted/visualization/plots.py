"""Figures as PNG files."""

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure  # without pyplot: no display, no global state

from imted.atomic import replacing


def save_figure(figure: Figure, path: str) -> None:
    """Write a figure as PNG, whole or not at all."""
    with replacing(path) as partial:
        FigureCanvasAgg(figure).print_png(partial)
