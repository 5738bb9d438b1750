"""A run on one web page: the table, learning curves, examples, the data and how to repeat it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jinja2 import Environment, PackageLoader

from st_rankloss._extras import require
from st_rankloss.experiment.files import write
from st_rankloss.experiment.folder import versions
from st_rankloss.experiment.run import Result
from st_rankloss.experiment.table import lines
from st_rankloss.inspection.findings import merged
from st_rankloss.inspection.page import to_svg

EXAMPLES = 5


@dataclass(frozen=True)
class Example:
    """An item of the test part that training changed.

    Args:
        item: The query, row or pair.
        before: What the model found for it before training.
        after: What it finds now.
        change: Change of the main metric.
    """

    item: str
    before: Sequence[str]
    after: Sequence[str]
    change: float


def examples(result: Result) -> tuple[list[Example], list[Example]]:
    """Choose the items of test that became most better and most worse with the saved model.

    Args:
        result: The result of a run.

    Returns:
        Up to five items that got better and five that got worse, the largest change first.
    """
    trained = next(each for each in result.losses if each.name == result.best)
    before, after = result.before, trained.test
    changes = np.nan_to_num(after.values[after.main] - before.values[before.main])
    order = np.argsort(-changes, kind="stable").tolist()

    def pick(places: Sequence[int]) -> list[Example]:
        return [
            Example(before.items[i], before.found[i], after.found[i], float(changes[i]))
            for i in places[:EXAMPLES]
            if changes[i]
        ]

    return (
        [example for example in pick(order) if example.change > 0],
        [example for example in pick(order[::-1]) if example.change < 0],
    )


def write_report(result: Result, path: Path) -> None:
    """Write the page, which needs no other file.

    Args:
        result: The result of a run.
        path: The HTML file.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    better, worse = examples(result)
    page = Environment(loader=PackageLoader("st_rankloss.experiment", "templates"), autoescape=True).get_template(
        "report.html.jinja"
    )
    write(
        path,
        page.render(
            result=result,
            lines=lines(result),
            curves=_draw_curves(result),
            groups=[("Queries that got better", better), ("Queries that got worse", worse)],
            config=result.settings.to_yaml(),
            findings=merged(result.inspection.findings),
            versions=versions(),
        ),
    )


def _draw_curves(result: Result) -> str:
    """Draw the main metric on dev during training as SVG."""
    figure = require("matplotlib.figure", "cli", purpose="the report").Figure(figsize=(7, 3.2), layout="constrained")
    axes = figure.subplots()
    for trained in result.losses:
        if trained.curve:
            steps, values = zip(*trained.curve, strict=True)
            axes.plot(steps, values, "o-", label=trained.title)
    axes.set(xlabel="step", ylabel=f"{result.before.main}, dev")
    axes.legend()
    return to_svg(figure)
