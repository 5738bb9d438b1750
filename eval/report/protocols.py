"""The mean over tasks, the protocols side by side, and what tuning is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from eval.protocols import PROTOCOLS
from eval.report import cells
from eval.report.blocks import Block, Details, Heading, Link, Paragraph, Table
from eval.report.comparing import Comparison, Entry
from eval.report.duels import Duel, Overall, by_protocol, overall
from eval.report.significance import estimate_difference

WORTH = (
    "Test scores of the same loss under each protocol: means over the tasks and encoders where it was tested under all"
    " of them, so that rows with other tasks are not comparable. Differences on a task are of the seeds that both have."
)
LEADS = "The recipe's score minus that of the best usual loss, chosen for each protocol."
SPREAD = "The spread is the standard deviation of true differences over tasks, with its 95 % interval."


def mean_over_tasks(duels: Sequence[Duel], means: Mapping[str, Overall]) -> list[Block]:
    """Show the hierarchical model of each protocol, over all encoders and for each that has enough tasks."""
    if not means:
        return []
    rows = [
        (protocol, task, cells.signed(value), cells.score(error), cells.difference(own.model.tasks[place].estimate))
        for protocol, own in means.items()
        for place, (task, (value, error)) in enumerate(own.observed.items())
    ]
    names = ("protocol", "task", "observed", "standard error", "in the model [95 %]")
    each = Table(dict(zip(names, zip(*rows, strict=True), strict=True)))
    return [
        Heading(2, "Mean over tasks"),
        _means({"all": means} | _by_encoder(duels)),
        Paragraph(SPREAD),
        Details(Heading(3, "Difference of each task in the model"), [each]),
    ]


def _by_encoder(duels: Sequence[Duel]) -> dict[str, dict[str, Overall]]:
    """Fit the model to each encoder's duels, if there are several encoders."""
    encoders = dict.fromkeys(duel.comparison.encoder for duel in duels)
    if len(encoders) < 2:
        return {}
    return {name: overall([duel for duel in duels if duel.comparison.encoder == name]) for name in encoders}


def _means(groups: Mapping[str, Mapping[str, Overall]]) -> Table:
    rows = [(encoder, protocol, own) for encoder, means in groups.items() for protocol, own in means.items()]
    models = [own.model for _, _, own in rows]
    return Table(
        {
            "encoder": [encoder for encoder, _, _ in rows],
            "protocol": [protocol for _, protocol, _ in rows],
            "tasks": [str(len(own.observed)) for _, _, own in rows],
            "mean difference [95 %]": [cells.difference(model.mean.estimate) for model in models],
            "spread": [cells.between(model.spread) for model in models],
            "a new task, 95 %": [cells.interval(model.new.estimate) for model in models],
        }
    )


def protocols(comparisons: Sequence[Comparison], duels: Sequence[Duel]) -> list[Block]:
    """Compare protocols, if there are several."""
    names = [name for name in PROTOCOLS if any(c.protocol == name for c in comparisons)]
    if len(names) < 2:
        return []
    return [Heading(2, "Protocols"), Paragraph(LEADS), _side_by_side(duels), *_worth(comparisons, names)]


def _side_by_side(duels: Sequence[Duel]) -> Table:
    """Make one row per task and encoder, with the recipe's lead over the best usual loss under each protocol."""
    groups = by_protocol(duels)
    rows = dict.fromkeys(duel.comparison.place for duel in duels)
    columns: dict[str, list[str]] = {"recipe − best usual loss": [Link(place) for place in rows]}
    for name, group in groups.items():
        found = {duel.comparison.place: duel for duel in group}
        columns[name] = [_lead(found.get(place)) for place in rows]
    return Table(columns)


def _lead(duel: Duel | None) -> str:
    if duel is None or duel.opponent is None:
        return cells.NONE
    return cells.emphasise(duel.verdict, f"{cells.difference(duel.difference, 3)} {duel.verdict}")


Tested = dict[tuple[str, str], dict[str, Entry]]
"""Entries by loss and place, and then by protocol."""


def _worth(comparisons: Sequence[Comparison], names: Sequence[str]) -> list[Block]:
    """Show each loss's scores under all protocols, over tasks and on each."""
    found: Tested = {}
    for c in comparisons:
        for entry in c.entries:
            if entry.test and entry.role != "before":
                label = "recipe" if entry.role == "recipe" else entry.loss
                found.setdefault((label, c.place), {})[c.protocol] = entry
    complete = {place: entries for place, entries in found.items() if len(entries) == len(names)}
    if not complete:
        return []
    each = Details(Heading(3, "What tuning is worth on each task"), [_worth_by_task(complete, names)])
    return [Heading(2, "What tuning is worth"), Paragraph(WORTH), _worth_by_loss(complete, names), each]


def _worth_by_loss(complete: Tested, names: Sequence[str]) -> Table:
    losses: dict[str, list[list[float]]] = {}
    for (label, _), entries in complete.items():
        losses.setdefault(label, []).append([entries[name].mean.value for name in names])
    means = {label: [cells.average(column) for column in zip(*rows, strict=True)] for label, rows in losses.items()}
    ordered = sorted(means, key=lambda label: means[label][0] - means[label][-1])
    columns = {"loss": ordered, "tasks": [str(len(losses[label])) for label in ordered]}
    columns |= {name: [cells.score(means[label][i], 3) for label in ordered] for i, name in enumerate(names)}
    for i, pair in enumerate(_pairs(names)):
        columns[pair] = [cells.signed(means[label][i] - means[label][i + 1], 3) for label in ordered]
    return Table(columns)


def _worth_by_task(complete: Tested, names: Sequence[str]) -> Table:
    columns: dict[str, list[str]] = {
        "task": [Link(place) for _, place in complete],
        "loss": [label for label, _ in complete],
    }
    for name in names:
        columns[name] = [cells.score(entries[name].mean.value, 3) for entries in complete.values()]
    for first, second, pair in zip(names, names[1:], _pairs(names), strict=False):
        rows = [(entries[first].measurements, entries[second].measurements) for entries in complete.values()]
        columns[pair] = [cells.difference(estimate_difference(*row), 3) for row in rows]
    return Table(columns)


def _pairs(names: Sequence[str]) -> list[str]:
    return [f"{first} − {second}" for first, second in zip(names, names[1:], strict=False)]
