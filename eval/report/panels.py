"""One figure per kind of detail, with a panel per task: the recipe and the best usual loss, chosen on dev."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from eval.report import cells, figures
from eval.report.blocks import Block, Heading, Paragraph, picture
from eval.report.comparing import Comparison, Entry, choose

NOTE = (
    "Learning curves are dev scores with seed 0. nDCG@10 by grade counts the documents of at least that grade as"
    " relevant. Similarities are those of relevant and irrelevant pairs in one seed of the recipe, as shares."
)


def panels(comparisons: Sequence[Comparison]) -> list[Block]:
    """Draw learning curves, nDCG by grade and similarities."""
    shown = {f"{c.task}, {c.encoder}": _shown(c) for c in comparisons}
    curves = {place: {label: _curve(entry) for label, entry in row.items()} for place, row in shown.items()}
    grades = {place: {label: _grades(entry) for label, entry in row.items()} for place, row in shown.items()}
    histograms = {
        place: run.histogram
        for place, row in shown.items()
        for run in (row["recipe"].test[:1] if "recipe" in row else ())
        if run.histogram
    }
    blocks: list[Block] = []
    for caption, across, up, points in (
        ("Learning curves", "step", "score on dev", curves),
        ("nDCG by grade", "documents of at least this grade", "nDCG@10", grades),
    ):
        drawn = {place: kept for place, row in points.items() if (kept := {x: y for x, y in row.items() if y})}
        blocks += [picture(caption, figures.lines(drawn, across, up))] if drawn else []
    blocks += [picture("Similarities", figures.histograms(histograms))] if histograms else []
    return [Heading(2, "Recipe and best usual loss"), Paragraph(NOTE), *blocks] if blocks else []


def _shown(comparison: Comparison) -> dict[str, Entry]:
    chosen = {"recipe": comparison.recipe, "best usual": choose(comparison.peers("usual"))[0]}
    return {label: entry for label, entry in chosen.items() if entry}


def _curve(entry: Entry) -> list[tuple[float, float]]:
    """Average the learning curves of an entry's seeds, at the steps that all have."""
    seeds = [dict(run.curve) for run in entry.test if run.curve]
    common = set.intersection(*map(set, seeds)) if seeds else set()
    return [(step, float(np.mean([curve[step] for curve in seeds]))) for step in sorted(common)]


def _grades(entry: Entry) -> list[tuple[float, float]]:
    """Average nDCG by grade over an entry's seeds."""
    rows = [run.by_grade or {} for run in entry.test]
    means = [
        (float(grade), cells.average(row.get(grade) for row in rows)) for grade in {g for row in rows for g in row}
    ]
    return sorted(point for point in means if math.isfinite(point[1]))
