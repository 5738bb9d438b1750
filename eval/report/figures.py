"""Figures of the report, from plain numbers. The recipe has one colour in all of them, and nothing else has it.

Colours are Okabe and Ito's, which colour-blind readers can distinguish; lines also differ in marker and dash.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any, TypeGuard

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from eval.report.significance import Estimate

RECIPE = "#D55E00"
GREY = "#BBBBBB"

Value = float | str
Points = Mapping[Value, Sequence[float]]
"""Scores of several seeds at each place of an axis."""

_LINES = [
    *(("#0072B2", "-", "o"), ("#009E73", "--", "s"), ("#CC79A7", "-.", "^"), ("#56B4E9", ":", "D")),
    *(("#E69F00", "--", "v"), ("#000000", ":", "P"), ("#666666", "-.", "x")),
]


def to_png(figure: Figure) -> bytes:
    """Render a figure, always as the same bytes."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()


def leads(estimates: Mapping[str, Estimate]) -> Figure:
    """Draw the recipes' leads over other losses with their intervals, one row per label."""
    figure, axes = _rows(list(estimates))
    for y, estimate in enumerate(estimates.values()):
        axes.plot([estimate.low, estimate.high], [y, y], color=RECIPE, linewidth=2)
        axes.plot(estimate.value, y, "o", color=RECIPE)
    axes.axvline(0, color="black", linewidth=1)
    axes.set(xlabel="recipe's score minus the other's; lines are 95 % intervals")
    return figure


def critical_difference(ranks: Mapping[str, float], distance: float, recipe: str) -> Figure:
    """Draw average ranks, best first, with half a critical difference on either side and a band around the best."""
    figure, axes = _rows(list(ranks))
    best = min(ranks.values())
    axes.axvspan(best - distance / 2, best + distance / 2, color=GREY, alpha=0.4, linewidth=0)
    for y, (label, rank) in enumerate(ranks.items()):
        colour = RECIPE if label == recipe else "black"
        axes.plot([rank - distance / 2, rank + distance / 2], [y, y], color=colour, linewidth=2)
        axes.plot(rank, y, "o", color=colour)
    axes.set(xlabel=f"average rank, 1 is best; lines are the critical difference, {distance:.2f}")
    return figure


def lines(panels: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]], across: str, up: str) -> Figure:
    """Draw one panel per task, one line per label, with the names of the axes."""
    figure, all_axes = _grid(len(panels), columns=4, width=2.8, height=2.0)
    styles = _styles([label for rows in panels.values() for label in rows])
    for axes, (task, rows) in zip(all_axes, panels.items(), strict=True):
        for label, points in rows.items():
            axes.plot(*zip(*points, strict=True), **styles[label])
        axes.set_title(task, fontsize=8)
    figure.supxlabel(across, fontsize=9)
    figure.supylabel(up, fontsize=9)
    _legend(figure, all_axes)
    return figure


def histograms(counts: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """Draw the similarities of relevant and irrelevant pairs, each as shares of their number, one panel per task."""
    figure, panels = _grid(len(counts), columns=4, width=2.8, height=1.7, sharex=True)
    for axes, (task, count) in zip(panels, counts.items(), strict=True):
        for kind, colour in (("irrelevant", "#56B4E9"), ("relevant", "#000000")):
            shares = np.asarray(count[kind], dtype=float) / max(1.0, sum(count[kind]))
            filled = kind == "irrelevant"
            axes.stairs(shares, np.asarray(count["edges"]), color=colour, fill=filled, label=kind, linewidth=1.3)
        axes.set_title(task, fontsize=8)
        axes.set_yticks([])
        axes.tick_params(labelbottom=True)
    figure.supxlabel("similarity", fontsize=9)
    _legend(figure, panels)
    return figure


def ablation(panels: Mapping[str, Mapping[str, Points]], name: str, metrics: Mapping[str, str]) -> Figure:
    """Draw scores over the values of a numeric setting, mean and range of seeds, one panel per task."""
    figure, all_axes = _grid(len(panels), columns=3, width=3.8, height=2.9)
    styles = _styles([label for rows in panels.values() for label in rows])
    for axes, (task, rows) in zip(all_axes, panels.items(), strict=True):
        for label, points in rows.items():
            values = sorted(points, key=float)
            axes.plot(values, [float(np.mean(points[value])) for value in values], **styles[label])
            low, high = ([bound(points[value]) for value in values] for bound in (min, max))
            axes.vlines([float(value) for value in values], low, high, color=styles[label]["color"], linewidth=1)
        values = order_values([value for points in rows.values() for value in points])
        if is_logarithmic(values):
            axes.set_xscale("log")
            axes.set_xticks([float(value) for value in values], [f"{value:g}" for value in values])
            axes.minorticks_off()
        axes.set(xlabel=name, ylabel=metrics[task])
        axes.set_title(task, fontsize=9)
    _legend(figure, all_axes)
    return figure


def order_values(values: Sequence[Value]) -> list[Value]:
    """Order a setting's values: words in order of appearance, then numbers by size, even if written as text.

    Example:
        >>> order_values(["100", "none", "10", "none"])
        ['none', '10', '100']
    """
    return sorted(dict.fromkeys(values), key=_size)


def _size(value: Value) -> float:
    """Return the number that a value or its text is; words sort before all numbers."""
    try:
        return float(value)
    except ValueError:
        return -math.inf


def is_number(value: object) -> TypeGuard[float]:
    """Return whether a value is a number, not a text or a switch."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_logarithmic(values: Sequence[Value]) -> bool:
    """Return whether values, at least one, are positive numbers that span more than a factor of eight.

    Example:
        >>> is_logarithmic([0.01, 0.1]), is_logarithmic([0.0, 0.1]), is_logarithmic([1, 8]), is_logarithmic(["a", 9])
        (True, False, False, False)
    """
    numbers = [float(value) for value in values if is_number(value)]
    return len(numbers) == len(values) and min(numbers) > 0 and max(numbers) > 8 * min(numbers)


def _styles(labels: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Give each label a style of line; the recipe has its own."""
    own = {"color": RECIPE, "linewidth": 2.0, "marker": "*", "markersize": 8, "zorder": 3, "label": "recipe"}
    styles: dict[str, dict[str, Any]] = {"recipe": own}
    others = dict.fromkeys(label for label in labels if label != "recipe")
    for label, (colour, dash, marker) in zip(others, cycle(_LINES), strict=False):
        styles[label] = {"color": colour, "linestyle": dash, "marker": marker, "markersize": 4, "label": label}
    return styles


def _legend(figure: Figure, panels: Sequence[Axes]) -> None:
    """Explain each label of all panels once."""
    handles = {text: line for axes in panels for line, text in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside right upper", fontsize=8)


def _rows(labels: Sequence[str]) -> tuple[Figure, Axes]:
    """Make a figure with one row per label, the first on top."""
    figure = Figure(figsize=(8, 1.3 + 0.27 * len(labels)), layout="constrained")
    axes = figure.subplots()
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.grid(visible=True, axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    return figure, axes


def _grid(count: int, *, columns: int, width: float, height: float, sharex: bool = False) -> tuple[Figure, list[Axes]]:
    """Make a figure of ``count`` panels, row by row."""
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(width * columns + 1, height * rows + 0.8), layout="constrained")
    panels: list[Axes] = list(figure.subplots(rows, columns, sharex=sharex, squeeze=False).flat)
    for axes in panels[count:]:
        axes.remove()
    for axes in panels[:count]:
        axes.tick_params(labelsize=7)
        axes.grid(visible=True, alpha=0.3)
    return figure, panels[:count]
