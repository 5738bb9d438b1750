"""The recipe against one other loss per comparison, and what that amounts to over tasks."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from eval.protocols import PROTOCOLS
from eval.report.comparing import Comparison, Entry, choose, or_lowest
from eval.report.hierarchy import FEWEST, Hierarchy, fit, merge
from eval.report.significance import Estimate, holm, verdict


@dataclass(frozen=True)
class Duel:
    """The recipe against one loss.

    Args:
        comparison: Where; it has a recipe.
        opponent: The loss, if there is one.
        by_dev: Whether dev scores chose it.
        verdict: The recipe's, corrected for the number of duels under the same protocol.
    """

    comparison: Comparison
    opponent: Entry | None
    by_dev: bool
    verdict: str

    @property
    def difference(self) -> Estimate:
        """The recipe's score minus its opponent's."""
        return _difference(self.comparison, self.opponent)


@dataclass(frozen=True, eq=False)
class Overall:
    """What duels under one protocol amount to.

    Args:
        observed: Difference and standard error by task.
        model: The hierarchical model of them.
    """

    observed: Mapping[str, tuple[float, float]]
    model: Hierarchy


def against_usual(comparisons: Sequence[Comparison]) -> list[Duel]:
    """Let each recipe meet the best usual loss, chosen on dev.

    Dev scores are those of the configuration that the protocol tests; where one is missing, they are those of the tuned
    losses.
    """
    tuned = {c.place: {e.loss: e.dev for e in c.peers("usual")} for c in comparisons if c.protocol == "tuned"}
    chosen = []
    for comparison in _tested(comparisons):
        peers = comparison.peers("usual")
        entry, by_dev = choose(peers)
        known = tuned.get(comparison.place, {})
        if not by_dev and all(math.isfinite(known.get(peer.loss, math.nan)) for peer in peers):
            entry, by_dev = max(peers, key=lambda peer: known[peer.loss]), True
        chosen.append((comparison, entry, by_dev))
    return _judge(chosen)


def against_hardest(comparisons: Sequence[Comparison]) -> list[Duel]:
    """Let each recipe meet the trained loss that is best on test."""
    tested = _tested(comparisons)
    best = [max(c.peers("usual", "family"), key=lambda e: or_lowest(e.mean.value), default=None) for c in tested]
    return _judge([(comparison, entry, True) for comparison, entry in zip(tested, best, strict=True)])


def by_protocol(duels: Iterable[Duel]) -> dict[str, list[Duel]]:
    """Group duels by protocol, in the order of `PROTOCOLS`."""
    groups: dict[str, list[Duel]] = {name: [] for name in PROTOCOLS}
    for duel in duels:
        groups[duel.comparison.protocol].append(duel)
    return {name: group for name, group in groups.items() if group}


def overall(duels: Sequence[Duel]) -> dict[str, Overall]:
    """Fit the hierarchical model of each protocol that has enough tasks."""
    found = {}
    for protocol, group in by_protocol(duels).items():
        observed = merge((duel.comparison.task, duel.difference) for duel in group)
        if len(observed) >= FEWEST:
            differences, errors = zip(*observed.values(), strict=True)
            found[protocol] = Overall(observed, fit(differences, errors))
    return found


def count(duels: Iterable[Duel]) -> Counter[str]:
    """Count verdicts."""
    return Counter(duel.verdict for duel in duels)


def _tested(comparisons: Iterable[Comparison]) -> list[Comparison]:
    return [comparison for comparison in comparisons if comparison.recipe is not None]


def _difference(comparison: Comparison, opponent: Entry | None) -> Estimate:
    return comparison.differences[opponent.loss] if opponent else Estimate(math.nan)


def _judge(chosen: Sequence[tuple[Comparison, Entry | None, bool]]) -> list[Duel]:
    """Judge each protocol's differences together."""
    duels = []
    for protocol in PROTOCOLS:
        own = [(comparison, entry, by_dev) for comparison, entry, by_dev in chosen if comparison.protocol == protocol]
        differences = [_difference(comparison, entry) for comparison, entry, _ in own]
        corrected = holm([difference.p for difference in differences])
        verdicts = [verdict(*pair) for pair in zip(differences, corrected, strict=True)]
        duels += [Duel(*row, found) for row, found in zip(own, verdicts, strict=True)]
    return duels
