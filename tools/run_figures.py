"""Figures of a run: sheets of pictures, loss curves and the modulator's scale, as PNG files."""

from collections.abc import Mapping, Sequence

from imted.outputs import write_picture
from imted.visualization.plots import save_figure

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure  # without pyplot: no display, no global state
from matplotlib.layout_engine import ConstrainedLayoutEngine

DPI = 100
SHEET_WIDTH = 12
"""Width of a sheet of pictures, in inches."""
NEIGHBOURS = 5
"""Points of a loss curve that its running median is taken over."""
BLUE, ORANGE, GREY = "#1f6feb", "#d1631d", "#6e7781"


def save_sheet(
    rows: Sequence[Sequence[np.ndarray]],
    path: str,
    title: str,
    row_names: Sequence[str] = (),
) -> None:
    """Write pictures in rows and columns.

    Args:
        rows: RGB pictures (H, W, 3), uint8, of about one shape; the last row may be shorter.
        path: Where to write the PNG.
        title: Above all; may have several lines.
        row_names: At the left of the rows.
    """
    width = SHEET_WIDTH / len(rows[0])
    height = max(width * picture.shape[0] / picture.shape[1] for row in rows for picture in row)
    layout = ConstrainedLayoutEngine(w_pad=0.04, h_pad=0.04, wspace=0, hspace=0, compress=True)
    figure = Figure((SHEET_WIDTH, height * len(rows) + 0.6), dpi=DPI, layout=layout)
    figure.suptitle(title, fontsize=11)
    grid = figure.subplots(len(rows), len(rows[0]), squeeze=False)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[], frame_on=False)
    for axes, name in zip(grid[:, 0], row_names, strict=False):
        axes.set_ylabel(name)
    for pictures, cells in zip(rows, grid, strict=True):
        for picture, axes in zip(pictures, cells, strict=False):
            axes.imshow(picture)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    # Photographs compress badly as PNG; without the last two bits, which nobody sees, they take
    # half the space.
    sheet = np.asarray(canvas.buffer_rgba())[..., :3] | 3
    write_picture(sheet, path, optimize=True)


def save_losses(history: Sequence[Mapping[str, float]], path: str) -> None:
    """Write a panel per loss, as logged and smoothed, and the learning rate below.

    Args:
        history: What was logged, each entry with "iteration"; those of training have "lr" and
            losses, "total_loss" and "loss_…". Of several entries for one iteration, as a resumed
            run leaves them, the last counts.
        path: Where to write the PNG.
    """
    history = [entry for entry in history if "lr" in entry]  # the others are evaluations
    by_iteration = {entry["iteration"]: entry for entry in history}
    history = [by_iteration[iteration] for iteration in sorted(by_iteration)]
    names = sorted({k for entry in history for k in entry if k.startswith("loss_")})
    if any("total_loss" in entry for entry in history):
        names = ["total_loss", *names]
    lines = -(-len(names) // 3)
    figure = Figure((11, 2.6 * lines + 1.4), dpi=DPI, layout="constrained")
    figure.suptitle(
        f"Losses as logged (faint) and the median of {NEIGHBOURS} neighbouring points (bold)",
        fontsize=11,
    )
    grid = figure.add_gridspec(lines + 1, 3, height_ratios=[*[1.0] * lines, 0.35])
    for i, name in enumerate(names):
        axes = figure.add_subplot(grid[i // 3, i % 3])
        iterations, values = _series(history, name)
        axes.plot(iterations, values, color=BLUE, alpha=0.3, linewidth=1)
        axes.plot(iterations, _running_median(values), color=BLUE, linewidth=2)
        axes.set_title(name, fontsize=10)
        _tidy(axes)
    axes = figure.add_subplot(grid[lines, :])
    axes.plot(*_series(history, "lr"), color=GREY, linewidth=2)
    axes.set_xlabel("iteration")
    axes.set_ylabel("learning rate", fontsize=9)
    axes.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    _tidy(axes)
    save_figure(figure, path)


def save_modulator(scale: np.ndarray, path: str) -> None:
    """Write the modulator's learned scale, (D,): a bar per channel by size, and a histogram."""
    figure = Figure((11, 4.5), dpi=DPI, layout="constrained")
    figure.suptitle(
        f"Learned scale of the pyramid's features, one per encoder channel ({len(scale)}): "
        f"mean |scale| {np.abs(scale).mean():.3g}; all started at 0",
        fontsize=11,
    )
    bars, histogram = figure.subplots(1, 2, sharey=True, width_ratios=[3, 1])
    ordered = np.sort(scale)
    colors = np.where(ordered < 0, ORANGE, BLUE)
    bars.bar(np.arange(len(scale)), ordered, width=1.0, color=colors)
    bars.set(xlabel="channels, in order of scale", ylabel="scale", xlim=(-1, len(scale)))
    histogram.hist(scale, bins=30, orientation="horizontal", color=GREY)
    histogram.set(xlabel="number of channels")
    for axes in (bars, histogram):
        axes.axhline(0, color="black", linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path)


def _series(history: Sequence[Mapping[str, float]], name: str) -> tuple[list[float], list[float]]:
    logged = [entry for entry in history if name in entry]
    return [entry["iteration"] + 1 for entry in logged], [entry[name] for entry in logged]


def _running_median(values: Sequence[float]) -> list[float]:
    """Take the median around each value, of fewer at the ends so that it stays in the middle."""
    halves = [min(NEIGHBOURS // 2, i, len(values) - 1 - i) for i in range(len(values))]
    return [float(np.median(values[i - h : i + h + 1])) for i, h in enumerate(halves)]


def _tidy(axes: Axes) -> None:
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
