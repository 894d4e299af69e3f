"""Figures as PNG files."""

from collections.abc import Iterator
from contextlib import contextmanager

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure  # without pyplot: no display, no global state

from imted.outputs import output_file


@contextmanager
def names_as_text() -> Iterator[None]:
    """Let matplotlib take names of classes for text: a `$` in one begins no formula."""
    with rc_context({"text.parse_math": False}):
        yield


def save_figure(figure: Figure, path: str) -> None:
    """Write a figure as PNG, see `output_file`."""
    with output_file(path) as partial:
        FigureCanvasAgg(figure).print_png(partial)
