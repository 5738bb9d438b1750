"""The comparison: what is chosen, and each loss on test at its best setting on dev."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from eval.names import check_name
from eval.plans.contenders import Contender
from eval.plans.learning_rates import middle_learning_rate
from eval.plans.losses import contenders
from eval.results import BEFORE, UNTRAINED, Run, Spec
from eval.tasks.records import Record


@dataclass(frozen=True)
class Choice:
    """The parts of a comparison.

    Args:
        records: The tasks.
        encoders: Names of encoders.
        losses: Names of losses; empty means every loss of a task.
        folder: Folder of the data.
        limit: Maximum number of rows or queries per part.
        seeds: Number of seeds on test.
        trials: Number of trials per loss on dev; 9 are the whole grid.
        known: All records by name, for those that are trained or scored on another.
    """

    records: Sequence[Record]
    encoders: Sequence[str]
    losses: Sequence[str] = ()
    folder: Path | None = None
    limit: int | None = None
    seeds: int = 5
    trials: int = 9
    known: Mapping[str, Record] = field(default_factory=dict)

    def chosen(self, record: Record) -> list[Contender]:
        """Return the losses of a task that are compared."""
        known = contenders(record)
        everything = {name for r in self.records for name in contenders(r)}
        for name in self.losses:
            check_name(name, sorted(everything), "loss")
        return [contender for name, contender in known.items() if not self.losses or name in self.losses]

    def spec(self, record: Record, encoder: str, loss: str, stage: str, **fields: Any) -> Spec:
        """Describe a run."""
        partner = self.known.get(record.trained_on or record.scored_on)
        return Spec(record, encoder, loss, stage, folder=self.folder, limit=self.limit, partner=partner, **fields)

    def groups(self) -> Iterator[tuple[Record, str, Contender]]:
        """Yield every task, encoder and loss."""
        for record in self.records:
            for encoder in self.encoders:
                for contender in self.chosen(record):
                    yield record, encoder, contender


def with_budget(record: Record, steps: int | None, batch_size: int | None) -> Record:
    """Return a record with another training budget, where one is given."""
    return replace(record, steps=steps or record.steps, batch_size=batch_size or record.batch_size)


def best_trials(runs: Iterable[Run]) -> dict[tuple[str, str, str], Run]:
    """Return each loss's best trial on dev by task, encoder and loss; of equal scores, the first by key."""
    best: dict[tuple[str, str, str], Run] = {}
    for run in sorted(runs, key=lambda run: run.key):
        if run.stage == "dev" and run.ok and np.isfinite(run.score):
            place = run.task, run.encoder, run.loss
            if place not in best or run.score > best[place].score:
                best[place] = run
    return best


def plan_tests(choice: Choice, runs: Iterable[Run], *, untuned: bool = False) -> list[Spec]:
    """Plan the runs on test: the untrained encoder, BM25, and each loss at its best setting on dev with every seed.

    Args:
        choice: The comparison.
        runs: Results so far, including the trials on dev; those of other training budgets are ignored.
        untuned: Use a loss's middle setting if it has no trials, instead of raising an error.

    Returns:
        The runs, seed by seed.

    Raises:
        ValueError: If a loss has not been tuned.
    """
    budgets = {record.name: (record.steps, record.batch_size) for record in [*choice.known.values(), *choice.records]}
    best = best_trials(run for run in runs if budgets.get(run.task) == run.budget)
    specs = [
        choice.spec(record, encoder, name, "test")
        for record in choice.records
        for encoder in choice.encoders
        for name in (UNTRAINED if record.kind == "retrieval" else (BEFORE,))
    ]
    missing = []
    for seed in range(choice.seeds):
        for record, encoder, contender in choice.groups():
            trained = record.trained_on or record.name
            trial = best.get((trained, encoder, contender.name))
            if trial is not None:
                setting, rate = trial.setting, trial.learning_rate
            elif untuned:
                setting = contender.settings[len(contender.settings) // 2]
                rate = middle_learning_rate(encoder) * choice.known.get(trained, record).rate
            else:
                missing.append(f"{contender.name} on {trained}")
                continue
            fields = {"setting": setting, "learning_rate": rate, "seed": seed}
            specs.append(choice.spec(record, encoder, contender.name, "test", **fields))
    if missing:
        raise ValueError(
            f"not tuned yet: {', '.join(dict.fromkeys(missing))}. Run `python -m eval tune` with the same --output, "
            "or compare at middle settings with --untuned."
        )
    return specs
