"""The table at the end of a run: each metric before and after training, with intervals."""

from __future__ import annotations

from dataclasses import dataclass

from rich.table import Table

from st_rankloss.experiment.intervals import Estimate, estimate_difference, estimate_mean
from st_rankloss.experiment.run import Result


@dataclass(frozen=True)
class Line:
    """One metric.

    Args:
        metric: Its name.
        before: Its mean on test before training.
        after: Its mean after training, by the loss's name.
        difference: The recipe minus the usual loss, over the same items.
    """

    metric: str
    before: Estimate
    after: dict[str, Estimate]
    difference: Estimate


def lines(result: Result) -> list[Line]:
    """Compute the table's lines, the main metric first.

    Args:
        result: The result of a run.

    Returns:
        A line per metric.
    """
    usual, recipe = (trained.test.values for trained in result.losses)
    return [
        Line(
            metric,
            estimate_mean(values),
            {trained.name: estimate_mean(trained.test.values[metric]) for trained in result.losses},
            estimate_difference(recipe[metric], usual[metric]),
        )
        for metric, values in result.before.values.items()
    ]


def make_table(result: Result) -> Table:
    """Lay the lines out for the terminal.

    Args:
        result: The result of a run.

    Returns:
        The table.
    """
    usual, recipe = (trained.title for trained in result.losses)
    table = Table(title=f"Test, {result.sizes['test']} rows, 95 % intervals", caption=f"usual loss: {usual}; {recipe}")
    for heading in ("metric", "before", "usual loss", "recipe", "recipe - usual"):
        table.add_column(heading, justify="right")
    for line in lines(result):
        table.add_row(line.metric, str(line.before), *map(str, line.after.values()), str(line.difference))
    return table
