"""Which losses are compared on one task and encoder under one protocol, the best of them, and the recipe's verdicts.

Dev scores choose each loss's setting and which peer is "the best"; every claim is measured on test.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from eval.protocols import PROTOCOLS
from eval.report.reading import group_by
from eval.report.significance import Estimate, Measurement, estimate_difference, estimate_mean, holm, verdict
from eval.results import BEFORE, UNTRAINED, Run, decode_items

BEFORE_TRAINING = "untrained"
"""Name of the encoder before training in tables."""


@dataclass(frozen=True)
class Entry:
    """One loss on one task and encoder.

    Args:
        loss: Its name.
        runs: Its runs of the stages dev and test, at least one of them ok; those on test are of one protocol.
        protocol: That protocol.
    """

    loss: str
    runs: Sequence[Run]
    protocol: str = "tuned"

    @property
    def role(self) -> str:
        """Role of the runs that succeeded; a failed one may not have known."""
        return next(run.role for run in self.runs if run.ok)

    @cached_property
    def test(self) -> list[Run]:
        """The last test run of each seed, for the tested configuration that is best on dev, or else the last tested."""
        tested = [run for run in self.runs if run.ok and run.stage == "test"]
        on_dev = {run.configuration: or_lowest(run.score) for run in self.runs if run.ok and run.stage == "dev"}
        best = max(reversed(tested), key=lambda run: on_dev.get(run.configuration, -math.inf), default=None)
        current = [run for run in tested if best and run.configuration == best.configuration]
        return list({run.seed: run for run in current}.values())

    @property
    def outdated(self) -> int:
        """Number of test runs left out: of another configuration, or repeated later."""
        return sum(run.ok and run.stage == "test" for run in self.runs) - len(self.test)

    @cached_property
    def trials_begun(self) -> list[Run]:
        """All tuning trials with the budget that was tested, or else that of the last trial.

        Where a loss is not tuned, only what was tested counts.
        """
        trials = [run for run in self.runs if run.stage == "dev"]
        if self.protocol != "tuned":
            tested = {run.configuration for run in self.test}
            return [run for run in trials if run.configuration in tested]
        return [run for run in trials if run.budget == (self.test or trials)[-1].budget]

    @cached_property
    def trials(self) -> list[Run]:
        """The tuning trials that have a score, the best first."""
        scored = [run for run in self.trials_begun if run.ok and math.isfinite(run.score)]
        return sorted(scored, key=lambda run: -run.score)

    @property
    def dev_scores(self) -> list[float]:
        """Dev scores of the tuning trials, the best first."""
        return [run.score for run in self.trials]

    @property
    def dev(self) -> float:
        """Dev score of the tested configuration, or else of the best trial."""
        tested = {run.configuration for run in self.test}
        return next(
            (run.score for run in self.trials if run.configuration in tested), max(self.dev_scores, default=math.nan)
        )

    @cached_property
    def measurements(self) -> dict[int, Measurement]:
        """Test scores and items by seed."""
        return {run.seed: Measurement(run.score, decode_items(run.items) if run.items else None) for run in self.test}

    @cached_property
    def mean(self) -> Estimate:
        """Mean test score."""
        return estimate_mean(self.measurements)

    @property
    def tuned(self) -> Run | None:
        """A run of the best configuration: a tested one, or the best trial."""
        return next(iter(self.test + self.trials), None)

    @property
    def is_outdone(self) -> bool:
        """Whether a trial on dev beat the configuration that was tested."""
        best = [run.configuration for run in self.trials if run.score == self.dev_scores[0]]
        return bool(self.test and best) and self.test[0].configuration not in best


@dataclass(frozen=True)
class Comparison:
    """All losses on one task and encoder: the best on test first, then those not tested, by their dev score."""

    task: str
    encoder: str
    protocol: str
    entries: Sequence[Entry]

    @property
    def place(self) -> str:
        """Task and encoder, as headings and figures name them."""
        return f"{self.task}, {self.encoder}"

    @property
    def first(self) -> Run:
        """Any run, for what all runs have in common."""
        return self.entries[0].runs[0]

    @cached_property
    def recipe(self) -> Entry | None:
        """The recipe, if it was tested."""
        return choose([entry for entry in self.entries if entry.role == "recipe"])[0]

    def peers(self, *roles: str) -> list[Entry]:
        """Return the losses of the given roles that were tested."""
        return [entry for entry in self.entries if entry.role in roles and entry.test]

    def label(self, entry: Entry) -> str:
        """Name a loss in tables and figures."""
        if entry.loss == BEFORE:
            return BEFORE_TRAINING
        is_named = entry.loss == entry.role  # by itself: the library's recipe is called "recipe"
        return f"recipe: {entry.loss}" if entry is self.recipe and not is_named else entry.loss

    @cached_property
    def differences(self) -> dict[str, Estimate]:
        """The recipe's score minus each other loss's, by loss."""
        if self.recipe is None:
            return {}
        ours = self.recipe.measurements
        others = [entry for entry in self.entries if entry is not self.recipe]
        return {entry.loss: estimate_difference(ours, entry.measurements) for entry in others}

    @cached_property
    def verdicts(self) -> dict[str, str]:
        """The recipe's verdict against each other loss, corrected for their number."""
        corrected = holm([difference.p for difference in self.differences.values()])
        pairs = zip(self.differences.items(), corrected, strict=True)
        return {loss: verdict(difference, p) for (loss, difference), p in pairs}


def compare(runs: Iterable[Run]) -> list[Comparison]:
    """Group the runs of dev and test by task, encoder and protocol, and then by loss; leave out those without success.

    Raises:
        ValueError: If the test runs of a task and encoder were scored on different queries or had different budgets.
    """
    comparisons = []
    staged = group_by((run for run in runs if run.stage in ("dev", "test")), lambda run: (run.task, run.encoder))
    for (task, encoder), group in staged.items():
        everything = [*group, *_trials_elsewhere(group, staged)]
        for protocol in _protocols(group):
            entries = _entries(everything, protocol)
            if entries:
                _check_items(entries, f"{task}, {encoder}")
                _check_budgets(entries, f"{task}, {encoder}, {protocol}")
                entries.sort(key=lambda entry: (or_lowest(entry.mean.value), or_lowest(entry.dev)), reverse=True)
                comparisons.append(Comparison(task, encoder, protocol, entries))
    return comparisons


def _protocols(group: Iterable[Run]) -> list[str]:
    """Return the protocols under which losses were tested, or the first if none was tested."""
    tested = {run.protocol for run in group if run.stage == "test" and run.loss not in UNTRAINED}
    return [name for name in PROTOCOLS if name in tested] or ["tuned"]


def _entries(runs: Iterable[Run], protocol: str) -> list[Entry]:
    """Return the losses of one protocol: of tuned ones also those without a test. Baselines belong to all."""
    trials = {"tuned", protocol}
    own = (
        run
        for run in runs
        if run.protocol == protocol or run.loss in UNTRAINED or (run.stage == "dev" and run.protocol in trials)
    )
    entries = [Entry(loss, found, protocol) for loss, found in group_by(own, lambda run: run.loss).items()]
    return [e for e in entries if any(run.ok for run in e.runs) and (protocol == "tuned" or e.test)]


def _trials_elsewhere(group: Sequence[Run], staged: Mapping[tuple[str, str], Sequence[Run]]) -> list[Run]:
    """Return the trials on the record that a task without a training part was trained on, of the same losses."""
    losses = {run.loss for run in group}
    places = dict.fromkeys((run.trained_on, run.encoder) for run in group if run.trained_on)
    candidates = (run for task, encoder in places for run in staged.get((str(task), encoder), ()))
    return [run for run in candidates if run.stage == "dev" and run.loss in losses]


def _check_items(entries: Iterable[Entry], place: str) -> None:
    """Raise a ValueError if test runs were scored on different queries: they cannot be paired."""
    counts: dict[int, str] = {}
    for entry in entries:
        for seed, measured in entry.measurements.items():
            if measured.items is not None:
                counts.setdefault(len(measured.items), f"{entry.loss} with seed {seed}")
    if len(counts) > 1:
        sides = ", ".join(f"{count} in {run}" for count, run in counts.items())
        raise ValueError(f"{place}: test runs must have items of the same queries, but their numbers differ: {sides}.")


def _check_budgets(entries: Iterable[Entry], place: str) -> None:
    """Raise a ValueError if tested losses, where it is known, were trained for different budgets."""
    budgets: dict[tuple[int | None, int | None], str] = {}
    for run in (run for entry in entries if entry.role != BEFORE for run in entry.test if None not in run.budget):
        budgets.setdefault(run.budget, run.loss)
    if len(budgets) > 1:
        sides = ", ".join(f"{loss} with {steps} steps of {rows}" for (steps, rows), loss in budgets.items())
        raise ValueError(f"{place}: losses must be trained alike, got {sides}: give each budget a file of its own.")


def choose(entries: Sequence[Entry]) -> tuple[Entry | None, bool]:
    """Choose the best tested loss, if any, by dev score if all have one; return False if test scores had to choose.

    Test scores would flatter it.
    """
    tested = [entry for entry in entries if entry.test]
    if not tested:
        return None, True
    if all(entry.trials for entry in tested):
        return max(tested, key=lambda entry: entry.dev), True
    return max(tested, key=lambda entry: or_lowest(entry.mean.value)), len(tested) == 1


def or_lowest(value: float) -> float:
    """Return a score, or minus infinity instead of NaN."""
    return -math.inf if math.isnan(value) else value
