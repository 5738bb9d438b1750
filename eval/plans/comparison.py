"""The comparison: what is chosen, and each loss on test at its best setting on dev."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from eval.names import check_name
from eval.plans.contenders import Contender
from eval.plans.learning_rates import learning_rates, untouched_learning_rate
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
        protocol: One of `PROTOCOLS`.
        known: All records by name, for those that are trained or scored on another.
    """

    records: Sequence[Record]
    encoders: Sequence[str]
    losses: Sequence[str] = ()
    folder: Path | None = None
    limit: int | None = None
    seeds: int = 5
    trials: int = 9
    protocol: str = "tuned"
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


def plan_tests(choice: Choice, runs: Iterable[Run]) -> list[Spec]:
    """Plan the runs on test: the untrained encoder, BM25, and each loss with every seed, chosen as the protocol says.

    Args:
        choice: The comparison.
        runs: Results so far, including the trials on dev; those of other training budgets are ignored.

    Returns:
        The runs, seed by seed.

    Raises:
        ValueError: If a loss has not been tuned.
    """
    before = [
        choice.spec(record, encoder, name, "test")
        for record in choice.records
        for encoder in choice.encoders
        for name in (UNTRAINED if record.kind == "retrieval" else (BEFORE,))
    ]
    runs, chosen, missing = list(runs), [], []
    for record, encoder, contender in choice.groups():
        found = _chosen(choice, record, encoder, contender, runs)
        if found:
            chosen.append((record, encoder, contender.name, found))
        else:
            missing.append(f"{contender.name} on {record.trained_on or record.name}")
    if missing:
        raise ValueError(
            f"not tuned yet: {', '.join(dict.fromkeys(missing))}. Run `python -m eval tune` with the same --output "
            "and --protocol, or compare with --protocol untouched."
        )
    return before + [
        choice.spec(record, encoder, name, "test", seed=seed, protocol=choice.protocol, **found)
        for seed in range(choice.seeds)
        for record, encoder, name, found in chosen
    ]


def _chosen(
    choice: Choice, record: Record, encoder: str, contender: Contender, runs: Iterable[Run]
) -> dict[str, Any] | None:
    """Return a loss's setting and learning rate, or None if there is no trial."""
    if choice.protocol == "untouched":
        return {"setting": contender.default, "learning_rate": untouched_learning_rate(encoder)}
    trained = choice.known.get(record.trained_on, record)
    place = trained.name, encoder, contender.name
    own = [run for run in runs if (run.task, run.encoder, run.loss) == place]
    own = [run for run in own if run.budget == (trained.steps, trained.batch_size)]
    if choice.protocol == "defaults":
        rates = learning_rates(trained, encoder, 3)
        own = [run for run in own if run.setting == contender.default and run.learning_rate in rates]
    else:
        own = [run for run in own if run.setting in contender.settings]
    trial = best_trials(own).get(place)
    return {"setting": trial.setting, "learning_rate": trial.learning_rate} if trial else None
