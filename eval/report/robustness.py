"""How much tuning matters to a loss: the spread of its dev scores over its grid, averaged over tasks."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from eval.report import cells
from eval.report.blocks import Block, Heading, Paragraph, Table
from eval.report.comparing import Comparison, Entry

NOTE = (
    "Spread of the dev score over the trials of a loss's grid, from its best trial to its worst and to its median:"
    " means over the tasks and encoders where it has several trials; lower is better. Losses on different tasks, or"
    " with fewer trials, are not strictly comparable; a trial that failed has no score."
)


def robustness(comparisons: Sequence[Comparison]) -> list[Block]:
    """Average each loss's spread over tasks and encoders, the most robust first."""
    found: dict[str, list[Entry]] = {}
    tuned = (entry for c in comparisons if not c.first.trained_on for entry in c.entries)
    for entry in (entry for entry in tuned if len(entry.trials) > 1):
        found.setdefault("recipe" if entry.role == "recipe" else entry.loss, []).append(entry)
    if not found:
        return []
    ordered = sorted(found.items(), key=lambda pair: _to_worst(pair[1]))
    columns: dict[str, Sequence[str]] = {
        "loss": [label for label, _ in ordered],
        "best − worst": cells.bold_best([_to_worst(entries) for _, entries in ordered], lower=True),
        "best − median": cells.bold_best([_to_median(entries) for _, entries in ordered], lower=True),
        "tasks × encoders": [str(len(entries)) for _, entries in ordered],
        "trials": [cells.trials(entries) for _, entries in ordered],
    }
    return [Heading(2, "Robustness"), Paragraph(NOTE), Table(columns)]


def _to_worst(entries: Sequence[Entry]) -> float:
    return cells.average(entry.dev - min(entry.dev_scores) for entry in entries)


def _to_median(entries: Sequence[Entry]) -> float:
    return cells.average(entry.dev - statistics.median(entry.dev_scores) for entry in entries)
