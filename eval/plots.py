"""Figures of the report, from plain numbers. The recipe has one colour in all of them, and none else has it.

Colours are Okabe and Ito's, which colour-blind readers can tell apart; lines also differ in marker and dash.
"""

from __future__ import annotations

import io
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from eval.significance import Estimate

RECIPE = "#D55E00"
ROLES = {"recipe": RECIPE, "usual": "#0072B2", "family": "#009E73", "before": "#666666"}
GREY = "#BBBBBB"

Value = float | str
Points = Mapping[Value, Sequence[float]]
"""Scores of several seeds at each place of an axis."""

_LINES = [
    *(("#0072B2", "-", "o"), ("#009E73", "--", "s"), ("#CC79A7", "-.", "^")),
    *(("#56B4E9", ":", "D"), ("#E69F00", "--", "v"), ("#000000", ":", "P")),
]


def to_png(figure: Figure) -> bytes:
    """Render a figure; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()


def bars(estimates: Mapping[str, Estimate], roles: Mapping[str, str], metric: str, untrained: str) -> Figure:
    """Draw the losses' scores with their intervals; bars start at the untrained encoder's score if there is one.

    Args:
        estimates: Mean score by label, best first.
        roles: Role by label; it gives the colour.
        metric: Name of the score.
        untrained: Label of the untrained encoder.

    Returns:
        One bar a label.
    """
    start = estimates[untrained].value if untrained in estimates else 0.0
    figure, axes = _rows(list(estimates))
    for y, (label, estimate) in enumerate(estimates.items()):
        axes.barh(y, estimate.value - start, left=start, color=ROLES[roles[label]], alpha=0.85)
        if not math.isnan(estimate.low):
            axes.plot([estimate.low, estimate.high], [y, y], color="black", linewidth=1.5)
    axes.axvline(start, color=ROLES["before"], linewidth=1)
    origin = "the untrained encoder" if untrained in estimates else "0"
    axes.set(xlabel=f"{metric}, bars from {origin}, lines are 95 % intervals")
    _role_legend(figure, axes, roles.values())
    return figure


def critical_difference(ranks: Mapping[str, float], distance: float, recipe: str) -> Figure:
    """Draw average ranks with half a critical difference to either side: two that do not overlap differ.

    Args:
        ranks: Average rank by label, best first.
        distance: The critical difference.
        recipe: Label of the recipe.

    Returns:
        One line a label, and a band around the best.
    """
    figure, axes = _rows(list(ranks))
    best = min(ranks.values())
    axes.axvspan(best - distance / 2, best + distance / 2, color=GREY, alpha=0.4, linewidth=0)
    for y, (label, rank) in enumerate(ranks.items()):
        colour = RECIPE if label == recipe else "black"
        axes.plot([rank - distance / 2, rank + distance / 2], [y, y], color=colour, linewidth=2)
        axes.plot(rank, y, "o", color=colour)
    axes.set(xlabel=f"average rank, 1 is best; lines are the critical difference, {distance:.2f}")
    return figure


def curves(lines: Mapping[str, Sequence[tuple[float, float]]], recipe: str, metric: str) -> Figure:
    """Draw a score over the steps of training, one line a loss; those after the first few labels are grey."""
    figure, axes = _single()
    for label, style in _styles(list(lines), recipe).items():
        steps, scores = zip(*lines[label], strict=True)
        axes.plot(steps, scores, **style)
    axes.set(xlabel="step", ylabel=f"{metric} on dev")
    figure.legend(loc="outside right upper")
    return figure


def grades(values: Mapping[str, Mapping[str, float]], recipe: str) -> Figure:
    """Draw nDCG@10 of the documents of at least each grade, one line a loss; those after the first few are grey."""
    figure, axes = _single()
    ticks = sorted({grade for row in values.values() for grade in row}, key=float)
    for label, style in _styles(list(values), recipe).items():
        places = [x for x, grade in enumerate(ticks) if grade in values[label]]
        axes.plot(places, [values[label][ticks[x]] for x in places], **style)
    axes.set_xticks(range(len(ticks)), [f"≥ {grade}" for grade in ticks])
    axes.set(xlabel="documents of grade", ylabel="nDCG@10")
    figure.legend(loc="outside right upper")
    return figure


def histograms(counts: Mapping[str, Mapping[str, Sequence[float]]], recipe: str) -> Figure:
    """Draw how similar relevant and irrelevant pairs are, one panel a loss, each kind as shares of its pairs.

    Args:
        counts: ``edges``, ``relevant`` and ``irrelevant`` by label.
        recipe: Label of the recipe.

    Returns:
        Panels with a common horizontal axis.
    """
    figure, panels = _grid(len(counts), columns=4, width=2.8, height=1.9, sharex=True)
    for axes, (label, count) in zip(panels, counts.items(), strict=True):
        for kind, colour in (("irrelevant", "#56B4E9"), ("relevant", "#000000")):
            shares = np.asarray(count[kind], dtype=float) / max(1.0, sum(count[kind]))
            filled = kind == "irrelevant"
            axes.stairs(shares, np.asarray(count["edges"]), color=colour, fill=filled, label=kind, linewidth=1.3)
        axes.set_title(label, fontsize=8, color=RECIPE if label == recipe else "black")
        axes.set_yticks([])
        axes.tick_params(labelbottom=True)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, title="similarity")
    return figure


def robustness(scores: Mapping[str, Sequence[float]], roles: Mapping[str, str], metric: str) -> Figure:
    """Draw the scores of every loss's tuning trials and their range, sorted by their median, which is the tick.

    Args:
        scores: Scores of the trials by label.
        roles: Role by label; it gives the colour.
        metric: Name of the score.

    Returns:
        One row a label.
    """
    labels = sorted(scores, key=lambda label: -float(np.median(scores[label])))
    figure, axes = _rows(labels)
    for y, label in enumerate(labels):
        colour = ROLES[roles[label]]
        axes.plot([min(scores[label]), max(scores[label])], [y, y], color=colour, linewidth=1.5)
        axes.plot(scores[label], [y] * len(scores[label]), "o", color=colour, alpha=0.6, markersize=5)
        axes.plot(float(np.median(scores[label])), y, "|", color="black", markersize=14)
    axes.set(xlabel=f"{metric} on dev, one point a trial")
    _role_legend(figure, axes, [roles[label] for label in labels])
    return figure


def ablation(panels: Mapping[str, Mapping[str, Points]], name: str, metrics: Mapping[str, str], recipe: str) -> Figure:
    """Draw scores over the values of one setting, the mean and the range of seeds; one panel a task, one line a loss.

    Args:
        panels: By task and by label, the scores of several seeds at each value.
        name: What varies.
        metrics: Name of the score by task.
        recipe: Label of the recipe.

    Returns:
        Panels, with a logarithmic axis where positive numbers span more than a factor of eight.
    """
    figure, all_axes = _grid(len(panels), columns=3, width=3.8, height=2.9)
    styles = _styles(list(dict.fromkeys(label for lines in panels.values() for label in lines)), recipe)
    for axes, (task, lines) in zip(all_axes, panels.items(), strict=True):
        values = order_values([value for points in lines.values() for value in points])
        numeric = all(is_number(value) for value in values)
        for label, points in lines.items():
            _ablation_line(axes, points, values, styles[label], numeric=numeric)
        if not numeric:
            axes.set_xticks(range(len(values)), [str(value) for value in values])
        elif is_logarithmic(values):
            axes.set_xscale("log")
            axes.set_xticks([float(value) for value in values], [f"{value:g}" for value in values])
            axes.minorticks_off()
        axes.set(xlabel=name, ylabel=metrics[task])
        axes.set_title(task, fontsize=9)
    handles = {text: line for axes in all_axes for line, text in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside right upper")
    return figure


def order_values(values: Sequence[Value]) -> list[Value]:
    """Order the values of a setting: words as they came first, then numbers by size, also those written as text.

    Args:
        values: Of a setting, with repetitions.

    Returns:
        Each value once.

    Example:
        >>> order_values(["100", "none", "10", "none"])
        ['none', '10', '100']
    """
    return sorted(dict.fromkeys(values), key=_size)


def _size(value: Value) -> float:
    """Return what a value or its text measures; less than anything where it is a word."""
    try:
        return float(value)
    except ValueError:
        return -math.inf


def is_number(value: object) -> TypeGuard[float]:
    """Tell numbers from texts and from switches."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_logarithmic(values: Sequence[Value]) -> bool:
    """Tell whether values are positive numbers that span more than a factor of eight.

    Args:
        values: Of a setting, one at least.

    Returns:
        Whether they want a logarithmic axis.

    Example:
        >>> is_logarithmic([0.01, 0.1]), is_logarithmic([0.0, 0.1]), is_logarithmic([1, 8]), is_logarithmic(["a", 9])
        (True, False, False, False)
    """
    numbers = [float(value) for value in values if is_number(value)]
    return len(numbers) == len(values) and min(numbers) > 0 and max(numbers) > 8 * min(numbers)


def _ablation_line(
    axes: Axes, points: Points, values: Sequence[Value], style: Mapping[str, Any], *, numeric: bool
) -> None:
    """Draw one loss's line over a setting."""
    kept = [value for value in values if value in points]
    places = [float(value) if numeric else values.index(value) for value in kept]
    axes.plot(places, [float(np.mean(points[value])) for value in kept], **style)
    low, high = ([bound(points[value]) for value in kept] for bound in (min, max))
    axes.vlines(places, low, high, color=style["color"], linewidth=1)


def _styles(labels: Sequence[str], recipe: str) -> dict[str, dict[str, Any]]:
    """Give each label a line: the recipe its own, the first others distinct ones, all others one grey."""
    others = [label for label in labels if label != recipe]
    styles: dict[str, dict[str, Any]] = {}
    for place, label in enumerate(others):
        if place < len(_LINES):
            colour, dash, marker = _LINES[place]
            styles[label] = {"color": colour, "linestyle": dash, "marker": marker, "markersize": 4, "label": label}
        else:
            styles[label] = {"color": GREY, "linewidth": 0.8, "zorder": 1}
            styles[label]["label"] = "other losses" if place == len(_LINES) else None
    own = {"color": RECIPE, "linewidth": 2.5, "marker": "*", "markersize": 9, "zorder": 3, "label": recipe}
    return ({recipe: own} if recipe in labels else {}) | styles


def _single() -> tuple[Figure, Axes]:
    """Make a figure of one panel."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    axes.grid(visible=True, alpha=0.3)
    return figure, axes


def _rows(labels: Sequence[str]) -> tuple[Figure, Axes]:
    """Make a figure of one row a label, the first on top."""
    figure = Figure(figsize=(8, 1.3 + 0.27 * len(labels)), layout="constrained")
    axes = figure.subplots()
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.grid(visible=True, axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    return figure, axes


def _grid(count: int, *, columns: int, width: float, height: float, sharex: bool = False) -> tuple[Figure, list[Axes]]:
    """Make a figure of so many panels, row by row."""
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


def _role_legend(figure: Figure, axes: Axes, present: Collection[str]) -> None:
    """Explain the colours of the roles that are present."""
    for role in (role for role in ROLES if role in present):
        axes.plot([], [], "s", color=ROLES[role], label=role)
    figure.legend(loc="outside right upper", fontsize=8)
