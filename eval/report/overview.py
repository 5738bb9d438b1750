"""The result: a sentence, a forest plot, one table, and where another loss is better."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import chain

from eval.report import cells, figures
from eval.report.blocks import Block, Heading, Link, Listing, Paragraph, Table, picture
from eval.report.comparing import BEFORE_TRAINING, Comparison
from eval.report.duels import Duel, Overall, against_hardest, by_protocol, count
from eval.report.significance import Estimate

NOTHING = "No recipe has been tested against a usual loss, so there is nothing to compare yet."
FOREST = (
    "Difference of the main score, with its 95 % interval; the table below names the usual loss. The diamond is the"
    " mean over tasks with its interval, and the thin line through it shows where a new task is expected."
)
CHOSEN_ON_TEST = "† chosen by its test score, which flatters it, because not every candidate has dev runs."
CONDITIONS = {
    "tuned": "with every loss tuned alike",
    "defaults": "at published defaults with only the learning rate tuned",
    "untouched": "with nothing tuned",
}


def overview(comparisons: Sequence[Comparison], duels: Sequence[Duel], means: Mapping[str, Overall]) -> list[Block]:
    """Show the result."""
    fought = [duel for duel in duels if duel.opponent]
    return [
        Heading(2, "Result"),
        *_result(fought, means),
        *_all_comparisons(comparisons, duels),
        *_exceptions(comparisons),
    ]


def _all_comparisons(comparisons: Sequence[Comparison], duels: Sequence[Duel]) -> list[Block]:
    if not duels:
        return []
    marks = [] if all(duel.by_dev for duel in duels) else [Paragraph(CHOSEN_ON_TEST)]
    return [Heading(2, "All comparisons"), _table(duels), *marks, Paragraph(_hardest(comparisons))]


def _result(duels: Sequence[Duel], means: Mapping[str, Overall]) -> list[Block]:
    if not duels:
        return [Paragraph(NOTHING)]
    forest = figures.forest(_rows(duels), {protocol: own.model for protocol, own in means.items()})
    return [Paragraph(_sentence(duels, means)), picture("Recipe − best usual loss", forest), Paragraph(FOREST)]


def _sentence(duels: Sequence[Duel], means: Mapping[str, Overall]) -> str:
    """Write wins, losses and the mean difference of each protocol."""
    parts = []
    for protocol, group in by_protocol(duels).items():
        verdicts = count(group)
        part = f"{verdicts['win']} of {len(group)} comparisons and loses {verdicts['loss'] or 'none'}"
        if verdicts[cells.NONE]:
            part += f", {verdicts[cells.NONE]} without an interval"
        if protocol in means:
            part += f" (mean difference {cells.difference(means[protocol].model.mean.estimate, 3)})"
        parts.append((CONDITIONS[protocol], part))
    (condition, first), *others = parts
    text = f"{condition.capitalize()}, the recipe beats the best usual loss significantly in {first}"
    return "; ".join([text, *(f"{condition}, in {part}" for condition, part in others)]) + "."


def _rows(duels: Sequence[Duel]) -> figures.Rows:
    """Group differences by task and encoder, the largest first."""
    rows: dict[str, dict[str, Estimate]] = {}
    for duel in duels:
        rows.setdefault(duel.comparison.place, {})[duel.comparison.protocol] = duel.difference
    means = {place: cells.average(difference.value for difference in row.values()) for place, row in rows.items()}
    return dict(sorted(rows.items(), key=lambda pair: means[pair[0]], reverse=True))


def _table(duels: Sequence[Duel]) -> Table:
    groups = by_protocol(duels)
    rows = [duel for group in groups.values() for duel in sorted(group, key=_by_difference)]
    places = [duel.comparison for duel in rows]
    columns: dict[str, Sequence[str]] = {
        "task": [Link(c.task, c.place) for c in places],
        "encoder": [c.encoder for c in places],
        "metric": [cells.metric(c.first.metric) for c in places],
    }
    if len(groups) > 1:
        columns["protocol"] = [c.protocol for c in places]
    return Table(
        columns
        | _baselines(places)
        | {
            "best usual loss": [_opponent(duel) for duel in rows],
            "recipe": [cells.score(c.recipe.mean.value, 3) if c.recipe else cells.NONE for c in places],
            "difference [95 %]": [cells.difference(duel.difference, 3) for duel in rows],
            "verdict": [cells.emphasise(duel.verdict) for duel in rows],
        }
    )


def _by_difference(duel: Duel) -> float:
    value = duel.difference.value
    return math.inf if math.isnan(value) else -value


def _opponent(duel: Duel) -> str:
    if duel.opponent is None:
        return cells.NONE
    return f"{cells.score(duel.opponent.mean.value, 3)} {duel.opponent.loss}{'' if duel.by_dev else ' †'}"


def _baselines(comparisons: Sequence[Comparison]) -> dict[str, list[str]]:
    """Make a column of scores for the untrained encoder and for each other baseline."""
    rows = [{c.label(entry): cells.score(entry.mean.value, 3) for entry in c.peers("before")} for c in comparisons]
    names = dict.fromkeys([BEFORE_TRAINING, *chain(*rows)])
    return {name: [row.get(name, cells.NONE) for row in rows] for name in names}


def _hardest(comparisons: Sequence[Comparison]) -> str:
    """Count verdicts against the best loss on test."""
    groups = by_protocol(against_hardest(comparisons))
    texts = []
    for protocol, group in groups.items():
        verdicts = count(group)
        named = [("win", "wins"), ("tie", "ties"), ("loss", "losses")]
        text = ", ".join(cells.number(verdicts[one], one, many) for one, many in named)
        texts.append(f"{protocol}: {text}" if len(groups) > 1 else text)
    return (
        "Against whichever loss is best on test, the library's other objectives included, the hardest comparison:"
        f" {'; '.join(texts)}."
    )


def _exceptions(comparisons: Sequence[Comparison]) -> list[Block]:
    """List the losses and baselines that are significantly better than the recipe."""
    several = len({c.protocol for c in comparisons}) > 1
    points = [
        f"{c.place}{f', {c.protocol}' if several else ''}: {c.label(entry)} {cells.score(entry.mean.value, 3)},"
        f" recipe {cells.score(c.recipe.mean.value, 3)}, difference {cells.difference(c.differences[entry.loss], 3)}"
        for c in comparisons
        for entry in c.entries
        if c.recipe is not None and c.verdicts.get(entry.loss) == "loss"
    ]
    text = "Significantly better than the recipe, by the tables of single tasks:"
    return [Paragraph(text), Listing(points)] if points else []
