"""The plots of a sweep, as PNG files."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure  # without pyplot: no display, no global state

from imted.extras.sweep.statistics import mean_interval
from imted.visualization.plots import save_figure

DPI = 110
Curve = Sequence[tuple[int, float]]
"""Iterations and values."""


def save_metrics(values: Mapping[str, Mapping[str, float]], metric: str, path: str) -> None:
    """Draw a row for each experiment: a dot for the value of each seed, the mean, its interval."""
    figure = Figure((6.4, 1.2 + 0.36 * len(values)), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    for row, dots in enumerate(list(own.values()) for own in values.values()):
        if dots:
            mean, half = mean_interval(dots)
            axes.plot(dots, [row] * len(dots), "o", color="#8c959f", markersize=4)
            axes.errorbar(mean, row, xerr=np.nan_to_num(half), fmt="D", color="#1f6feb", capsize=4)
    axes.set(yticks=range(len(values)), yticklabels=list(values), xlabel=metric)
    axes.set_ylim(len(values) - 0.5, -0.5)
    axes.grid(axis="x", alpha=0.3)
    save_figure(figure, path)


def save_curves(curves: Mapping[str, Sequence[Curve]], metric: str, path: str) -> None:
    """Draw each experiment's mean over its seeds against iterations, in a band of its interval."""
    figure = Figure((6.8, 4.4), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    for number, (name, own) in enumerate(curves.items()):
        values = defaultdict(list)
        for iteration, value in (pair for curve in own for pair in curve):
            values[iteration].append(value)
        if values:
            iterations = sorted(values)
            means, halves = np.nan_to_num([mean_interval(values[i]) for i in iterations]).T
            colour = f"C{number % 10}"
            axes.plot(iterations, means, "o-", color=colour, markersize=3, label=name)
            axes.fill_between(iterations, means - halves, means + halves, color=colour, alpha=0.15)
    axes.set(xlabel="iterations", ylabel=metric)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    save_figure(figure, path)
