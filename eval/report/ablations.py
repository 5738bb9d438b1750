"""How dev scores depend on one setting at a time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from eval import plots
from eval.report import cells
from eval.report.blocks import Block, Heading, Paragraph, Table, picture
from eval.report.reading import Run, group_by

NOTE = "Scores on dev: means over seeds, in brackets their range where there are several."


def ablations(runs: Iterable[Run]) -> list[Block]:
    """Tell how dev scores depend on one setting at a time; of repeated runs the last counts."""
    chosen = [run for run in runs if run.stage == "ablation" and run.ok and run.ablation and math.isfinite(run.score)]
    last = {(run.ablation, run.encoder, run.task, run.loss, str(run.value), run.seed): run for run in chosen}
    blocks: list[Block] = []
    for (name, encoder), group in group_by(last.values(), lambda run: (str(run.ablation), run.encoder)).items():
        panels = {task: _lines(own) for task, own in group_by(group, lambda run: run.task).items()}
        metrics = {run.task: run.metric for run in group}
        figure = plots.ablation(panels, name, metrics, "recipe")
        blocks += [Heading(3, f"{name}, {encoder}"), _table(panels), picture(f"Ablation of {name}, {encoder}", figure)]
    return [Heading(2, "Ablations"), Paragraph(NOTE), *blocks] if blocks else []


def _lines(runs: Iterable[Run]) -> dict[str, dict[plots.Value, list[float]]]:
    """Group one task's scores by loss and value."""
    lines: dict[str, dict[plots.Value, list[float]]] = {}
    for run in runs:
        points = lines.setdefault("recipe" if run.role == "recipe" else run.loss, {})
        points.setdefault(run.value if plots.is_number(run.value) else str(run.value), []).append(run.score)
    return lines


def _table(panels: Mapping[str, Mapping[str, plots.Points]]) -> Table:
    """Make one row a task and loss, one column a value."""
    rows = [(task, label, points) for task, lines in panels.items() for label, points in lines.items()]
    values = plots.order_values([value for _, _, points in rows for value in points])
    texts = [_row([points.get(value, ()) for value in values]) for _, _, points in rows]
    columns: dict[str, Sequence[str]] = {"task": [task for task, _, _ in rows], "loss": [label for _, label, _ in rows]}
    return Table(columns | {str(value): column for value, column in zip(values, zip(*texts, strict=True), strict=True)})


def _row(points: Sequence[Sequence[float]]) -> list[str]:
    return cells.bold_best([cells.average(scores) for scores in points], [cells.range_of(scores) for scores in points])
