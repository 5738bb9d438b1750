"""Each task and encoder: every loss's scores, differences and settings."""

from __future__ import annotations

import math
from collections.abc import Sequence

from eval.report import cells
from eval.report.blocks import Block, Details, Heading, Paragraph, Table
from eval.report.comparing import Comparison, Entry

RELIABILITY = ("auc", "opis")
LOWER_IS_BETTER = frozenset({"opis"})
RELIABILITY_NOTE = (
    "Means over seeds. AUC and OPIS measure reliability, whether one threshold of similarity serves all queries;"
    " a low OPIS is good."
)


def describe_tasks(comparisons: Sequence[Comparison]) -> list[Block]:
    """Make a section per task and encoder, with a table per protocol."""
    places: dict[str, list[Comparison]] = {}
    for comparison in comparisons:
        places.setdefault(comparison.place, []).append(comparison)
    sections = [Details(Heading(3, place), _describe(group)) for place, group in places.items()]
    return [Heading(2, "Tasks"), *sections] if sections else []


def _describe(comparisons: Sequence[Comparison]) -> list[Block]:
    """Make the tables of one task and encoder; other metrics are those of the first protocol."""
    first = comparisons[0].first
    runs = [run for entry in comparisons[0].entries for run in entry.runs]
    text = (
        f"Kind: {first.kind}; main metric: {cells.metric(first.metric)};"
        f" {cells.join(run.steps for run in runs)} steps in batches of {cells.join(run.batch_size for run in runs)}."
    )
    blocks: list[Block] = [Paragraph(text)]
    for comparison in comparisons:
        blocks += [Paragraph(f"Protocol: {comparison.protocol}.")] if len(comparisons) > 1 else []
        blocks.append(Table(_loss_columns(comparison)))
    return blocks + _other_metrics(comparisons[0])


def _loss_columns(comparison: Comparison) -> dict[str, Sequence[str]]:
    """Make the columns of a task's main table."""
    entries = comparison.entries
    means = [entry.mean for entry in entries]
    differences = [comparison.differences.get(entry.loss) for entry in entries]
    return {
        "loss": [comparison.label(entry) for entry in entries],
        "role": [entry.role for entry in entries],
        cells.metric(comparison.first.metric): cells.bold_best(
            [mean.value for mean in means], [cells.mean(mean) for mean in means]
        ),
        "recipe − loss": [cells.difference(difference) if difference else "" for difference in differences],
        "verdict": [cells.emphasise(comparison.verdicts.get(entry.loss, "")) for entry in entries],
        "dev, worst to best": [_spread(entry) for entry in entries],
        "setting": [cells.setting(entry.tuned) for entry in entries],
        "learning rate": [_learning_rate(entry) for entry in entries],
        "seeds": [str(len(entry.test)) for entry in entries],
        "training, s": [cells.whole(cells.average(run.seconds.get("train") for run in e.test)) for e in entries],
    }


def _learning_rate(entry: Entry) -> str:
    if entry.role == "before" or entry.tuned is None or math.isnan(entry.tuned.learning_rate):
        return cells.NONE
    return f"{entry.tuned.learning_rate:g}"


def _spread(entry: Entry) -> str:
    """Write the range of a loss's dev scores, and their number."""
    if not entry.trials_begun:
        return cells.NONE
    lowest = min(entry.dev_scores, default=math.nan)
    highest = max(entry.dev_scores, default=math.nan)
    return f"{cells.score(lowest)} to {cells.score(highest)} ({cells.trials([entry])})"


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
        columns[cells.metric(metric)] = cells.bold_best(means, lower=metric in LOWER_IS_BETTER)
    return [Paragraph(f"Other metrics. {RELIABILITY_NOTE}"), Table(columns)]
