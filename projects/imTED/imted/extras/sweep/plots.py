"""The plots of a sweep, as PNG files."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure  # without pyplot: no display, no global state

from imted.extras.sweep.statistics import mean_interval
from imted.visualization.plots import save_figure

DPI = 110
Curve = Sequence[tuple[int, float]]
"""Iterations and values."""


def save_metrics(values: Mapping[str, Mapping[str, float]], metric: str, path: str) -> None:
    """Draw every run as a dot, and the mean with its 95 % interval, a row for each experiment.

    Args:
        values: Experiment -> seed -> value.
        metric: Its name.
        path: Where to write the PNG.
    """
    figure = Figure((6.4, 1.2 + 0.36 * len(values)), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    for row, own in enumerate(values.values()):
        if not own:
            continue
        dots = list(own.values())
        mean, half = mean_interval(dots)
        axes.plot(dots, [row] * len(dots), "o", color="#8c959f", markersize=4)
        axes.errorbar(mean, row, xerr=np.nan_to_num(half), fmt="D", color="#1f6feb", capsize=4)
    axes.set(yticks=range(len(values)), yticklabels=list(values), xlabel=metric)
    axes.set_ylim(len(values) - 0.5, -0.5)
    axes.grid(axis="x", alpha=0.3)
    save_figure(figure, path)


def save_curves(curves: Mapping[str, Sequence[Curve]], metric: str, path: str) -> None:
    """Draw a metric against iterations: the mean over seeds, in a band of its 95 % interval.

    Args:
        curves: Experiment -> one curve for each seed.
        metric: Its name.
        path: Where to write the PNG.
    """
    figure = Figure((6.8, 4.4), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    for number, (name, own) in enumerate(curves.items()):
        by_iteration: dict[int, list[float]] = {}
        for iteration, value in (pair for curve in own for pair in curve):
            by_iteration.setdefault(iteration, []).append(value)
        iterations = sorted(by_iteration)
        if not iterations:
            continue
        means, halves = np.array([mean_interval(by_iteration[i]) for i in iterations]).T
        halves = np.nan_to_num(halves)
        colour = f"C{number % 10}"
        axes.plot(iterations, means, "o-", color=colour, markersize=3, label=name)
        axes.fill_between(iterations, means - halves, means + halves, color=colour, alpha=0.15)
    axes.set(xlabel="iterations", ylabel=metric)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    save_figure(figure, path)
