"""One task and encoder: every loss's scores, differences and settings, and what figures show of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Sized
from typing import TypeVar

import numpy as np

from eval import plots
from eval.report import cells
from eval.report.blocks import Block, Heading, Paragraph, Table, picture
from eval.report.comparing import UNTRAINED, Comparison, Entry

RELIABILITY = ("auc", "opis")
LOWER_IS_BETTER = frozenset({"opis"})
RELIABILITY_NOTE = (
    "Means over seeds. AUC and OPIS tell of reliability, whether one threshold of similarity serves all queries; a low"
    " OPIS is good."
)

Content = TypeVar("Content", bound=Sized)


def describe_comparison(comparison: Comparison) -> list[Block]:
    """Tell all of one task and encoder: tables and figures."""
    first = comparison.first
    runs = [run for entry in comparison.entries for run in entry.runs]
    text = (
        f"Kind: {first.kind}; main metric: {first.metric}; {cells.join(run.steps for run in runs)} steps in batches of"
        f" {cells.join(run.batch_size for run in runs)}."
    )
    return [
        Heading(2, f"{comparison.task}, {comparison.encoder}"),
        Paragraph(text),
        Table(_loss_columns(comparison)),
        *_other_metrics(comparison),
        *_pictures(comparison),
    ]


def _loss_columns(comparison: Comparison) -> dict[str, Sequence[str]]:
    """Make the columns of a task's main table."""
    entries = comparison.entries
    means = [entry.mean for entry in entries]
    differences = [comparison.differences.get(entry.loss) for entry in entries]
    return {
        "loss": [comparison.label(entry) for entry in entries],
        "role": [entry.role for entry in entries],
        comparison.first.metric: cells.bold_best([mean.value for mean in means], [cells.mean(mean) for mean in means]),
        "recipe − loss": [cells.difference(difference) if difference else "" for difference in differences],
        "verdict": [cells.emphasise(comparison.verdicts.get(entry.loss, "")) for entry in entries],
        "dev, best trial": cells.bold_best([entry.dev for entry in entries]),
        "dev, worst to best": [_spread(entry) for entry in entries],
        "setting": [cells.setting(entry.tuned) for entry in entries],
        "learning rate": [_learning_rate(entry) for entry in entries],
        "seeds": [str(len(entry.test)) for entry in entries],
        "training, s": [cells.whole(cells.average(run.seconds.get("train") for run in e.test)) for e in entries],
        "memory, MB": [cells.whole(cells.average(run.peak_memory_mb for run in e.test)) for e in entries],
    }


def _learning_rate(entry: Entry) -> str:
    if entry.role == "before" or entry.tuned is None or math.isnan(entry.tuned.learning_rate):
        return cells.NONE
    return f"{entry.tuned.learning_rate:g}"


def _spread(entry: Entry) -> str:
    """Write the range of the dev scores over a loss's trials, and how many gave one."""
    if not entry.trials_begun:
        return cells.NONE
    lowest = min(entry.dev_scores, default=math.nan)
    return f"{cells.score(lowest)} to {cells.score(entry.dev)} ({cells.trials([entry])})"


def _other_metrics(comparison: Comparison) -> list[Block]:
    """Make the table of all metrics but the main one, reliability last."""
    main = comparison.first.metric
    tested = [entry for entry in comparison.entries if entry.test]
    found = dict.fromkeys(metric for entry in tested for run in entry.test for metric in run.scores if metric != main)
    metrics = [metric for metric in found if metric not in RELIABILITY] + [m for m in RELIABILITY if m in found]
    if not metrics:
        return []
    columns: dict[str, Sequence[str]] = {"loss": [comparison.label(entry) for entry in tested]}
    for metric in metrics:
        means = [cells.average(run.scores.get(metric) for run in entry.test) for entry in tested]
        columns[metric] = cells.bold_best(means, lower=metric in LOWER_IS_BETTER)
    return [Paragraph(f"Other metrics. {RELIABILITY_NOTE}"), Table(columns)]


def _pictures(comparison: Comparison) -> list[Block]:
    """Draw what a task's runs have to show."""
    metric = comparison.first.metric
    named = {comparison.label(entry): entry for entry in comparison.entries}
    roles = {label: entry.role for label, entry in named.items()}
    recipe = comparison.label(comparison.recipe) if comparison.recipe else ""
    means = {label: entry.mean for label, entry in named.items() if math.isfinite(entry.mean.value)}
    curves = _present({label: _curve(entry) for label, entry in named.items()})
    grades = _present({label: _grades(entry) for label, entry in named.items()})
    histograms = {label: run.histogram for label, entry in named.items() for run in entry.test[:1] if run.histogram}
    trials = _present({label: entry.dev_scores for label, entry in named.items()})
    several = any(len(scores) > 1 for scores in trials.values())
    figures = {
        "Scores": plots.bars(means, roles, metric, UNTRAINED) if means else None,
        "Learning curves": plots.curves(curves, recipe, metric) if curves else None,
        "nDCG by grade": plots.grades(grades, recipe) if grades else None,
        "Similarities of one seed": plots.histograms(histograms, recipe) if histograms else None,
        "Robustness to tuning": plots.robustness(trials, roles, metric) if several else None,
    }
    place = f"{comparison.task}, {comparison.encoder}"
    return [picture(f"{kind}, {place}", figure) for kind, figure in figures.items() if figure]


def _present(found: Mapping[str, Content]) -> dict[str, Content]:
    return {label: content for label, content in found.items() if content}


def _curve(entry: Entry) -> list[tuple[float, float]]:
    """Average the learning curves of an entry's seeds, at the steps that all have."""
    seeds = [dict(run.curve) for run in entry.test if run.curve]
    common = set.intersection(*map(set, seeds)) if seeds else set()
    return [(step, float(np.mean([curve[step] for curve in seeds]))) for step in sorted(common)]


def _grades(entry: Entry) -> dict[str, float]:
    """Average nDCG by grade over an entry's seeds."""
    grades = dict.fromkeys(grade for run in entry.test for grade in run.by_grade or {})
    return {grade: cells.average((run.by_grade or {}).get(grade) for run in entry.test) for grade in grades}
