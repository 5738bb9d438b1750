"""How the recipes compare: with the best peers of each task, and with each loss over all tasks."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from eval.report import cells, figures
from eval.report.blocks import Block, Heading, Listing, Paragraph, Table, picture
from eval.report.comparing import UNTRAINED, Comparison, Entry, choose, or_lowest
from eval.report.significance import Estimate, holm, verdict

NOTHING = "No recipe has been tested, so there is nothing to compare yet."
CHOSEN_ON_TEST = "† chosen by its test score, which flatters it, because not every candidate has dev runs."
EACH_LOSS = "The recipe against each loss, counted from the verdicts in the tasks' tables; the hardest losses first."


@dataclass(frozen=True)
class Opponents:
    """One loss of each comparison, as the recipe's opponent.

    Args:
        comparisons: Comparisons with a recipe.
        chosen: The result of `choose` for each.
    """

    comparisons: Sequence[Comparison]
    chosen: Sequence[tuple[Entry | None, bool]]

    @property
    def names(self) -> list[str]:
        """The losses with their scores, marked if chosen by test scores."""
        return [
            f"{entry.loss} {cells.score(entry.mean.value)}{'' if by_dev else ' †'}" if entry else cells.NONE
            for entry, by_dev in self.chosen
        ]

    @property
    def differences(self) -> list[Estimate]:
        """The recipes' scores minus theirs."""
        pairs = zip(self.comparisons, self.chosen, strict=True)
        return [c.differences[entry.loss] if entry else Estimate(math.nan) for c, (entry, _) in pairs]

    @property
    def verdicts(self) -> list[str]:
        """The recipes' verdicts, corrected for the number of comparisons."""
        corrected = holm([difference.p for difference in self.differences])
        return [verdict(difference, p) for difference, p in zip(self.differences, corrected, strict=True)]

    @property
    def are_by_dev(self) -> bool:
        """Whether dev scores chose all of them."""
        return all(by_dev for _, by_dev in self.chosen)


def overview(comparisons: Sequence[Comparison]) -> list[Block]:
    """Compare each task's recipe with the best usual loss, the best of the family, and the best on test."""
    tested = [c for c in comparisons if c.recipe is not None]
    if not tested:
        return [Heading(2, "Overview"), Paragraph(NOTHING)]
    recipe, usual, family = (
        Opponents(tested, [choose(c.peers(role)) for c in tested]) for role in ("recipe", "usual", "family")
    )
    hardest = Opponents(tested, [(_best_on_test(c), True) for c in tested])
    columns = {
        "task": [c.task for c in tested],
        "encoder": [c.encoder for c in tested],
        "metric": [c.first.metric for c in tested],
        **_baselines(tested),
        "recipe": recipe.names,
        "best usual": usual.names,
        "best of the family": family.names,
        "recipe − best usual": [cells.difference(difference) for difference in usual.differences],
        "verdict": [cells.emphasise(text) for text in usual.verdicts],
        "best on test": hardest.names,
        "recipe − best on test": [cells.difference(difference) for difference in hardest.differences],
        "verdict, hardest": [cells.emphasise(text) for text in hardest.verdicts],
    }
    text = f"Against the best tuned usual loss, chosen on dev: {_count(usual.verdicts)}."
    text += f" Against whichever peer is best on test, the hardest comparison: {_count(hardest.verdicts)}."
    marks = [] if recipe.are_by_dev and usual.are_by_dev and family.are_by_dev else [Paragraph(CHOSEN_ON_TEST)]
    leads = {f"{c.task}, {c.encoder}": lead for c, lead in zip(tested, usual.differences, strict=True)}
    figure = picture("Lead of the recipe over the best usual loss", figures.leads(leads))
    return [Heading(2, "Overview"), Paragraph(text), Table(columns), *marks, figure, *_each_loss(tested)]


def _baselines(comparisons: Sequence[Comparison]) -> dict[str, list[str]]:
    """Make a column of scores for the untrained encoder and for each other baseline."""
    rows = [{c.label(entry): cells.score(entry.mean.value) for entry in c.peers("before")} for c in comparisons]
    return {name: [row.get(name, cells.NONE) for row in rows] for name in dict.fromkeys([UNTRAINED, *chain(*rows)])}


def _best_on_test(comparison: Comparison) -> Entry | None:
    return max(comparison.peers("usual", "family"), key=lambda entry: or_lowest(entry.mean.value), default=None)


def _count(verdicts: Sequence[str]) -> str:
    counts = Counter(verdicts)
    named = [("win", "wins"), ("tie", "ties"), ("loss", "losses")]
    text = ", ".join(cells.number(counts[one], one, many) for one, many in named)
    return text + (f", {counts[cells.NONE]} without a verdict" if counts[cells.NONE] else "")


def _each_loss(comparisons: Sequence[Comparison]) -> list[Block]:
    """Count the recipe's wins, ties and losses against each tested loss."""
    found: dict[str, Counter[str]] = {}
    for c in comparisons:
        for entry in c.entries:
            if entry.test and entry is not c.recipe:
                found.setdefault(c.label(entry), Counter())[c.verdicts[entry.loss]] += 1
    ordered = sorted(found.items(), key=lambda pair: pair[1]["win"] - pair[1]["loss"])
    columns = {"loss": [label for label, _ in ordered], "tasks": [str(counts.total()) for _, counts in ordered]}
    headings = {"win": "wins", "tie": "ties", "loss": "losses", cells.NONE: "no verdict"}
    columns |= {text: [str(counts[name]) for _, counts in ordered] for name, text in headings.items()}
    return [Paragraph(EACH_LOSS), Table(columns)] if found else []


def exceptions(comparisons: Sequence[Comparison]) -> list[Block]:
    """List the losses that are significantly better than the recipe."""
    points = [
        f"{c.task}, {c.encoder}: {c.label(entry)} {cells.score(entry.mean.value)}"
        f" against {cells.score(c.recipe.mean.value)},"
        f" recipe − {c.label(entry)} = {cells.difference(c.differences[entry.loss])}"
        for c in comparisons
        for entry in c.entries
        if c.recipe is not None and c.verdicts.get(entry.loss) == "loss"
    ]
    if not points:
        return []
    return [Heading(2, "Exceptions"), Paragraph("Significantly better than the recipe:"), Listing(points)]
