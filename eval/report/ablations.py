"""How dev scores depend on one setting at a time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from eval.report import cells, figures
from eval.report.blocks import Block, Details, Heading, Paragraph, Table, picture
from eval.report.reading import group_by
from eval.results import Run

NOTE = "Scores on dev: means over seeds, with the range in brackets if there are several."


def ablations(runs: Iterable[Run]) -> list[Block]:
    """Show dev scores by one setting at a time; of repeated runs the last counts."""
    chosen = [run for run in runs if run.stage == "ablation" and run.ok and run.ablation and math.isfinite(run.score)]
    last = {(run.ablation, run.encoder, run.task, run.loss, str(run.value), run.seed): run for run in chosen}
    blocks: list[Block] = []
    for name, group in group_by(last.values(), lambda run: str(run.ablation)).items():
        panels = {place: _lines(own) for place, own in group_by(group, _place).items()}
        metrics = {_place(run): cells.metric(run.metric) for run in group}
        inside: list[Block] = [_table(panels)]
        if all(figures.is_number(run.value) for run in group):
            inside.append(picture(f"Ablation of {name}", figures.ablation(panels, name, metrics)))
        blocks.append(Details(Heading(3, f"Ablation: {name}"), inside))
    return [Heading(2, "One setting at a time"), Paragraph(NOTE), *blocks] if blocks else []


def _place(run: Run) -> str:
    return f"{run.task}, {run.encoder}"


def _lines(runs: Iterable[Run]) -> dict[str, dict[figures.Value, list[float]]]:
    """Group one task's scores by loss and value."""
    lines: dict[str, dict[figures.Value, list[float]]] = {}
    for run in runs:
        points = lines.setdefault("recipe" if run.role == "recipe" else run.loss, {})
        points.setdefault(run.value if figures.is_number(run.value) else str(run.value), []).append(run.score)
    return lines


def _table(panels: Mapping[str, Mapping[str, figures.Points]]) -> Table:
    """Make one row per task and loss, one column per value."""
    rows = [(task, label, points) for task, lines in panels.items() for label, points in lines.items()]
    values = figures.order_values([value for _, _, points in rows for value in points])
    texts = [_row([points.get(value, ()) for value in values]) for _, _, points in rows]
    columns: dict[str, Sequence[str]] = {"task": [task for task, _, _ in rows], "loss": [label for _, label, _ in rows]}
    return Table(columns | {str(value): column for value, column in zip(values, zip(*texts, strict=True), strict=True)})


def _row(points: Sequence[Sequence[float]]) -> list[str]:
    return cells.bold_best([cells.average(scores) for scores in points], [cells.range_of(scores) for scores in points])
