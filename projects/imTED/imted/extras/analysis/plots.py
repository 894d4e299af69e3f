"""The figures of an analysis, as PNG files."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure  # without pyplot: no display, no global state

from imted.visualization.plots import names_as_text, save_figure

from .accumulate import RECALLS
from .curves import F1Curve
from .tide import KINDS

DPI = 110
MAX_NAMED = 20
"""Classes that a legend or an axis names; with more of them it would be unreadable."""
GREY = "#8c959f"
COLOURS = {
    "right": "#2da44e",
    "classification": "#cf222e",
    "localisation": "#bf8700",
    "both": "#a40e6c",
    "duplicate": "#8250df",
    "background": "#57606a",
    "missed": "#0969da",
}
"""Of a detection that is right, and of each kind of error, here and in the drawings."""


@names_as_text()
def save_precision_curves(
    curves: Mapping[float, np.ndarray], names: Sequence[str], path: str
) -> None:
    """Draw precision against recall, a panel for each IoU's (K + 1, 101), the last row the mean."""
    figure = Figure((5.2 * len(curves), 4.2), dpi=DPI, layout="constrained")
    panels = figure.subplots(1, len(curves), squeeze=False)[0]
    for axes, (iou, rows) in zip(panels, curves.items(), strict=True):
        _plot_rows(axes, RECALLS, rows, [*names, "mean"])
        axes.set(xlabel="recall", ylabel="precision", title=f"IoU {iou}")
    panels[-1].legend(loc="upper right", fontsize=8)
    save_figure(figure, path)


@names_as_text()
def save_f1_curves(curves: Sequence[F1Curve], names: Sequence[str], path: str) -> None:
    """Draw F1 against the score threshold; of the last curve, which all classes share, the best."""
    figure = Figure((6.4, 4.2), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    grid = np.linspace(0, 1, 201)
    _plot_rows(axes, grid, [_at(curve, grid) for curve in curves], [*names, "all classes"])
    best = curves[-1].best
    if best is not None:
        axes.axvline(best["score"], color=GREY, linestyle=":", linewidth=1)
    axes.set(xlabel="score threshold", ylabel="F1 at IoU 0.5")
    axes.legend(loc="lower center", fontsize=8, ncols=3)
    save_figure(figure, path)


@names_as_text()
def save_confusion(matrix: np.ndarray, names: Sequence[str], path: str) -> None:
    """Draw a confusion matrix, (K + 1, K + 1), each row as parts of its sum."""
    labels = [*names, "background"]
    size = min(12.0, 2.8 + 0.55 * len(labels))
    figure = Figure((size + 1, size), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    few = len(labels) <= MAX_NAMED
    if few:
        for (row, column), number in np.ndenumerate(matrix):
            colour = "white" if share[row, column] > 0.6 else "black"
            axes.text(column, row, str(number), ha="center", va="center", color=colour, fontsize=8)
    places = range(len(labels)) if few else range(0, len(labels), -(-len(labels) // MAX_NAMED))
    shown = [labels[place] for place in places]
    axes.set_xticks(list(places), shown, rotation=45, ha="right", fontsize=8)
    axes.set_yticks(list(places), shown, fontsize=8)
    axes.set(xlabel="class of the detection", ylabel="class of the object")
    figure.colorbar(image, ax=axes, shrink=0.7, label="part of the row")
    save_figure(figure, path)


def save_errors(gains: Mapping[str, float], path: str) -> None:
    """Draw what AP50 gains when each kind of error is fixed."""
    figure = Figure((6.4, 2.6), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    kinds = list(reversed(KINDS))
    values = [100 * np.nan_to_num(gains[kind]) for kind in kinds]
    bars = axes.barh(kinds, values, color=[COLOURS[kind] for kind in kinds])
    axes.bar_label(bars, fmt="%.1f", padding=3, fontsize=8)
    axes.set_xlabel("AP50 gained when all errors of the kind are fixed (dAP)")
    axes.margins(x=0.1)
    save_figure(figure, path)


def _plot_rows(axes: Axes, x: np.ndarray, rows: Iterable[np.ndarray], names: Sequence[str]) -> None:
    """Plot a thin line for each class, many of them in grey, and the last row in black."""
    many = len(names) - 1 > MAX_NAMED
    for number, (row, name) in enumerate(zip(rows, names, strict=True), start=1):
        if number == len(names):
            axes.plot(x, row, color="black", linewidth=2.2, label=name)
        elif many:
            axes.plot(x, row, color=GREY, linewidth=0.5, alpha=0.6)
        elif not np.isnan(row).all():
            axes.plot(x, row, linewidth=1, label=name)
    axes.set(xlim=(0, 1), ylim=(0, 1.02))


def _at(curve: F1Curve, thresholds: np.ndarray) -> np.ndarray:
    """Return F1 at given thresholds; 0 above the highest score, NaN without any."""
    if not len(curve.thresholds):
        return np.full(len(thresholds), np.nan)
    place = np.searchsorted(-curve.thresholds, -thresholds, side="right") - 1
    return np.where(place >= 0, curve.f1[np.maximum(place, 0)], 0.0)
