"""Figures of the report, from plain numbers. The recipe has one colour where losses are compared.

Colours are Okabe and Ito's, which colour-blind readers can distinguish; lines also differ in marker and dash.
"""

from __future__ import annotations

import hashlib
import io
import math
import re
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any, TypeGuard

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from eval.protocols import SHORT
from eval.report.hierarchy import Hierarchy
from eval.report.significance import Estimate

RECIPE = "#D55E00"
INK = "#000000"

MARKS = {"tuned": (RECIPE, "o"), "defaults": ("#2F8AC4", "s"), "untouched": ("#009E73", "^")}
"""Colour and marker of each protocol."""

Value = float | str
Points = Mapping[Value, Sequence[float]]
"""Scores of several seeds at each place of an axis."""

Rows = Mapping[str, Mapping[str, Estimate]]
"""Differences by label and protocol."""

_LINES = [
    *(("#0072B2", "-", "o"), ("#009E73", "--", "s"), ("#CC79A7", "-.", "^"), ("#56B4E9", ":", "D")),
    *(("#E69F00", "--", "v"), ("#000000", ":", "P"), ("#666666", "-.", "x")),
]


_METADATA = ("Creator", "Date", "Format", "Type")


def to_png(figure: Figure) -> bytes:
    """Render a figure, always as the same bytes."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()


def to_svg(figure: Figure, name: str) -> str:
    """Render a figure for a page: its text is text, black is the colour of the page's text, and ids are its own."""
    buffer = io.StringIO()
    FigureCanvasAgg(figure)
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata=dict.fromkeys(_METADATA))
    text = buffer.getvalue()
    text = re.sub(r"'[\w ]+', (?=[^;\"]*sans-serif)", "", text[text.index("<svg") :])
    prefix = hashlib.sha256(name.encode()).hexdigest()[:6]
    text = re.sub(r'(\bid="|"#|\(#)', rf"\g<1>{prefix}-", text)
    width = 72 * figure.get_figwidth()
    start = f'<svg fill="currentColor" style="min-width: {0.85 * width:.0f}px; max-width: {1.5 * width:.0f}px" '
    return text.replace(INK, "currentColor").replace("<svg ", start, 1)


def forest(rows: Rows, models: Mapping[str, Hierarchy]) -> Figure:
    """Draw differences with their intervals, one row per label, and the means of hierarchical models below."""
    protocols = [name for name in MARKS if any(name in row for row in rows.values())]
    step = 0.72 / len(protocols)
    height = 1.3 + (0.15 + 0.07 * len(protocols)) * (len(rows) + len(models) + 0.5)
    figure = Figure(figsize=(5.4, height), layout="constrained")
    axes = figure.subplots()
    for y, row in enumerate(rows.values()):
        for place, name in enumerate(protocols):
            if name in row:
                _interval(axes, y + step * (place - (len(protocols) - 1) / 2), row[name], name)
    for y, (name, model) in enumerate(models.items(), len(rows)):
        _diamond(axes, y + 0.5, model, name)
    labels = [
        *rows,
        *(f"mean over tasks, {SHORT[name]}" if len(protocols) > 1 else "mean over tasks" for name in models),
    ]
    places = [*range(len(rows)), *(len(rows) + 0.5 + y for y in range(len(models)))]
    axes.set_yticks(places, [_plain(label) for label in labels], fontsize=10)
    axes.set_ylim(places[-1] + 0.7, -0.7)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}".replace("-", "−")))
    axes.axvline(0, color=INK, linewidth=1, zorder=1)
    axes.grid(visible=True, axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["left", "right", "top"]].set_visible(False)
    axes.set_xlabel("← usual loss better · recipe better →", fontsize=9)
    if len(protocols) > 1:
        handles = [Line2D([], [], color=MARKS[name][0], marker=MARKS[name][1], label=SHORT[name]) for name in protocols]
        figure.legend(handles=handles, loc="outside upper right", ncols=len(handles), fontsize=9, frameon=False)
    return figure


def _plain(text: str) -> str:
    """Shorten a name to what fits beside a figure, and keep it from being read as mathematics."""
    return (text if len(text) <= 40 else f"{text[:39]}…").replace("$", r"\$")


def _interval(axes: Axes, y: float, estimate: Estimate, protocol: str) -> None:
    colour, marker = MARKS[protocol]
    axes.plot([estimate.low, estimate.high], [y, y], color=colour, linewidth=1.6, zorder=2)
    axes.plot(estimate.value, y, marker, color=colour, markersize=4.5, zorder=3)


def _diamond(axes: Axes, y: float, model: Hierarchy, protocol: str) -> None:
    colour, _ = MARKS[protocol]
    mean, new = model.mean.estimate, model.new.estimate
    axes.plot([new.low, new.high], [y, y], color=colour, linewidth=0.8, zorder=2)
    axes.fill([mean.low, mean.value, mean.high, mean.value], [y, y - 0.33, y, y + 0.33], color=colour, zorder=3)


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
        axes.set(xlabel=_plain(name), ylabel=_plain(metrics[task]))
        axes.set_title(_plain(task), fontsize=9)
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
        styles[label] = {"color": colour, "linestyle": dash, "marker": marker, "markersize": 4, "label": _plain(label)}
    return styles


def _legend(figure: Figure, panels: Sequence[Axes]) -> None:
    """Explain each label of all panels once."""
    handles = {text: line for axes in panels for line, text in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside right upper", fontsize=8)


def _grid(count: int, *, columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """Make a figure of ``count`` panels, row by row."""
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(width * columns + 1, height * rows + 0.8), layout="constrained")
    panels: list[Axes] = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in panels[count:]:
        axes.remove()
    for axes in panels[:count]:
        axes.tick_params(labelsize=7)
        axes.grid(visible=True, alpha=0.3)
    return figure, panels[:count]
