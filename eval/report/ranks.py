"""Average ranks of losses over tasks, with Friedman's test and the critical difference."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from eval import plots
from eval.report.blocks import Block, Heading, Paragraph, Table, picture
from eval.report.comparing import Comparison, choose
from eval.significance import Floats, average_ranks, critical_difference, friedman

FEWEST = 3  # losses, and tasks


def ranks(comparisons: Sequence[Comparison]) -> list[Block]:
    """Rank the losses that all tested tasks of an encoder have; at least three losses and three tasks."""
    blocks: list[Block] = []
    for encoder in dict.fromkeys(c.encoder for c in comparisons):
        tasks = [scores for c in comparisons if c.encoder == encoder and (scores := _scores_by_name(c))]
        names = [name for name in next(iter(tasks), {}) if all(name in scores for scores in tasks)]
        if len(names) >= FEWEST and len(tasks) >= FEWEST:
            blocks += _rank_blocks(encoder, names, np.array([[scores[name] for name in names] for scores in tasks]))
    return [Heading(2, "Average ranks over tasks"), *blocks] if blocks else []


def _scores_by_name(comparison: Comparison) -> dict[str, float]:
    """Return the test scores of trained losses, each task's recipe as "recipe" and its best usual loss as such.

    Usual losses differ from one kind of labels to the next, so that by name few would be on all tasks.
    """
    usual, _ = choose(comparison.peers("usual"))
    names = {id(comparison.recipe): "recipe", id(usual): "best usual"}
    entries = [entry for entry in comparison.entries if entry.role != "before" and math.isfinite(entry.mean.value)]
    return {names.get(id(entry), entry.loss): entry.mean.value for entry in entries}


def _rank_blocks(encoder: str, names: Sequence[str], scores: Floats) -> list[Block]:
    distance = critical_difference(len(names), len(scores))
    averages = dict(sorted(zip(names, average_ranks(scores).tolist(), strict=True), key=lambda pair: pair[1]))
    text = (
        f"{encoder}: {len(names)} losses on {len(scores)} tasks. Friedman's test that all rank alike: p ="
        f" {friedman(scores):.2g}. Two losses differ by Nemenyi's test if their ranks differ by {distance:.2f}."
        ' "best usual" is the usual loss that was chosen for each task.'
    )
    table = Table({"loss": list(averages), "average rank": [f"{rank:.2f}" for rank in averages.values()]})
    figure = plots.critical_difference(averages, distance, "recipe")
    return [Paragraph(text), table, picture(f"Average ranks, {encoder}", figure)]
