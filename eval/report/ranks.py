"""Average ranks of losses over tasks, with Friedman's test and the critical difference."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from eval.report import figures
from eval.report.blocks import Block, Heading, Paragraph, Table, picture
from eval.report.comparing import Comparison, choose
from eval.report.significance import Floats, average_ranks, critical_difference, friedman

FEWEST = 3
"""Minimum number of losses, and of tasks."""


def ranks(comparisons: Sequence[Comparison]) -> list[Block]:
    """Rank each encoder's losses over the tasks that have them all, if there are enough of both."""
    blocks: list[Block] = []
    for encoder in dict.fromkeys(c.encoder for c in comparisons):
        tasks = {c.task: scores for c in comparisons if c.encoder == encoder and (scores := _scores_by_name(c))}
        for names, complete in _complete_tables(tasks):
            blocks += _rank_blocks(encoder, names, {task: tasks[task] for task in complete})
    return [Heading(2, "Average ranks over tasks"), *blocks] if blocks else []


def _complete_tables(tasks: Mapping[str, Mapping[str, float]]) -> list[tuple[list[str], list[str]]]:
    """Choose the sets of losses, most common first, that share the most tasks and that give the most results."""
    counts = Counter(name for scores in tasks.values() for name in scores)
    by_count = [name for name, _ in counts.most_common()]
    choices = [by_count[:number] for number in range(FEWEST, len(by_count) + 1)]
    tables = [(names, [task for task in tasks if tasks[task].keys() >= set(names)]) for names in choices]
    large = [table for table in tables if len(table[1]) >= FEWEST]
    if not large:
        return []
    most_tasks = max(large, key=lambda table: (len(table[1]), len(table[0])))
    most_results = max(large, key=lambda table: len(table[0]) * len(table[1]))
    return [most_tasks] if most_tasks == most_results else [most_tasks, most_results]


def _scores_by_name(comparison: Comparison) -> dict[str, float]:
    """Return the test scores of trained losses, with the recipe and the best usual loss under these names.

    Usual losses depend on the kind of labels, so that few are on all tasks under their own names.
    """
    usual, _ = choose(comparison.peers("usual"))
    names = {id(comparison.recipe): "recipe", id(usual): "best usual"}
    entries = [entry for entry in comparison.entries if entry.role != "before" and math.isfinite(entry.mean.value)]
    return {names.get(id(entry), entry.loss): entry.mean.value for entry in entries}


def _rank_blocks(encoder: str, names: Sequence[str], tasks: Mapping[str, Mapping[str, float]]) -> list[Block]:
    scores: Floats = np.array([[scores[name] for name in names] for scores in tasks.values()])
    distance = critical_difference(len(names), len(scores))
    averages = dict(sorted(zip(names, average_ranks(scores).tolist(), strict=True), key=lambda pair: pair[1]))
    text = (
        f"{encoder}: {len(names)} losses on {len(tasks)} tasks ({', '.join(tasks)}). Friedman's test that all rank"
        f" alike: p = {friedman(scores):.2g}. Two losses differ by Nemenyi's test if their ranks differ by"
        f" {distance:.2f}."
        ' "best usual" is the usual loss that was chosen for each task.'
    )
    table = Table({"loss": list(averages), "average rank": [f"{rank:.2f}" for rank in averages.values()]})
    figure = figures.critical_difference(averages, distance, "recipe")
    return [Paragraph(text), table, picture(f"Average ranks of {len(names)} losses, {encoder}", figure)]
