"""Plans of runs, and their execution by worker processes: tuning on dev, then the comparison on test."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from eval.data import Record, check_name
from eval.encoders import middle_learning_rate
from eval.losses import Contender, contenders, find
from eval.results_file import Line, ResultsFile
from eval.runs import BEFORE, UNTRAINED, Spec, describe, failed, one_thread, run

TRIALS = 9
"""Of each loss: three settings by three learning rates, or nine learning rates where there is nothing to set."""

SPREAD = 3.0
"""Ratio of the learning rates of a grid."""

TEXTS_PER_SECOND = {"static": 4_000, "static-minilm": 3_000, "bert": 600, "minilm-2": 120, "minilm": 40, "clip": 1_500}
"""Trained on, on one core; only a guess for ``--dry-run`` where no run of the same kind is known."""


@dataclass(frozen=True)
class Choice:
    """What a comparison is made of.

    Args:
        records: The tasks.
        encoders: Their names.
        losses: Their names; empty means every loss of a task.
        folder: Where the data are.
        limit: Rows of each part at most.
        seeds: Number of seeds on test.
        trials: Of each loss on dev.
        known: All records by name, for those that are trained or scored on another.
    """

    records: Sequence[Record]
    encoders: Sequence[str]
    losses: Sequence[str] = ()
    folder: Path | None = None
    limit: int | None = None
    seeds: int = 5
    trials: int = TRIALS
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


def learning_rates(record: Record, encoder: str, settings: int) -> list[float]:
    """Return a grid of learning rates: three, or nine over the same range for a loss that has nothing to set.

    Example:
        >>> from eval.data import load_records
        >>> learning_rates(load_records()["documentation"], "static", 3)
        [0.0700, 0.2100, 0.6300]
    """
    middle = middle_learning_rate(encoder) * record.rate
    rates = np.geomspace(middle / SPREAD, middle * SPREAD, 9 if settings == 1 else 3)
    return [float(f"{rate:.4g}") for rate in rates]


class Tuning:
    """One loss's trials: optuna asks for settings, and is told the score on dev.

    Args:
        choice: The comparison.
        record: The task.
        encoder: Its name.
        contender: The loss.
    """

    def __init__(self, choice: Choice, record: Record, encoder: str, contender: Contender) -> None:
        self.choice, self.record, self.encoder, self.contender = choice, record, encoder, contender
        places = range(len(contender.settings))
        rates = learning_rates(record, encoder, len(contender.settings))
        grid = [{"setting": place, "learning_rate": rate} for place in places for rate in rates]
        space = {"setting": list(places), "learning_rate": rates}
        self.space = {name: optuna.distributions.CategoricalDistribution(values) for name, values in space.items()}
        sampler = optuna.samplers.TPESampler(seed=0, n_startup_trials=3)
        self.study = optuna.create_study(direction="maximize", sampler=sampler)
        self.unseen = grid
        if choice.trials >= len(grid):
            for point in grid:
                self.study.enqueue_trial(point)
        self.left = min(choice.trials, len(grid))

    def ask(self) -> tuple[Spec, optuna.Trial]:
        """Choose the next trial: one of the grid that has not been asked for."""
        self.left -= 1
        trial = self.study.ask(self.space)
        if trial.params not in self.unseen:
            self.study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            self.study.enqueue_trial(self.unseen[len(self.unseen) // 2])
            trial = self.study.ask(self.space)
        self.unseen.remove(trial.params)
        setting = self.contender.settings[trial.params["setting"]]
        rate = trial.params["learning_rate"]
        chosen = {"setting": setting, "learning_rate": rate}
        return self.choice.spec(self.record, self.encoder, self.contender.name, "dev", **chosen), trial

    def tell(self, trial: optuna.Trial, line: Line) -> None:
        """Report a trial's score."""
        if line["status"] == "ok":
            self.study.tell(trial, line["scores"][line["metric"]])
        else:
            self.study.tell(trial, state=optuna.trial.TrialState.FAIL)


def best_trials(lines: Iterable[Line]) -> dict[tuple[str, str, str], Line]:
    """Return each loss's best trial on dev, by task, encoder and loss; equals are told apart by their keys."""
    best: dict[tuple[str, str, str], Line] = {}
    for line in sorted(lines, key=lambda line: str(line["key"])):
        if line["stage"] == "dev" and line["status"] == "ok" and np.isfinite(line["scores"][line["metric"]]):
            key = line["task"], line["encoder"], line["loss"]
            if key not in best or line["scores"][line["metric"]] > best[key]["scores"][line["metric"]]:
                best[key] = line
    return best


def of_budget(lines: Iterable[Line], choice: Choice) -> list[Line]:
    """Leave out trials of another number of steps or another batch size than the comparison's."""
    budgets = {record.name: (record.steps, record.batch_size) for record in [*choice.known.values(), *choice.records]}
    return [line for line in lines if budgets.get(line["task"]) == (line["steps"], line["batch_size"])]


def plan_tests(choice: Choice, lines: Iterable[Line], *, untuned: bool = False) -> list[Spec]:
    """Plan the runs on test: the untrained encoder, BM25, and each loss at its best setting on dev with every seed.

    Args:
        choice: The comparison.
        lines: Results so far, with the trials on dev.
        untuned: Take a loss's middle setting where there are no trials, instead of an error.

    Returns:
        The runs, seed by seed.

    Raises:
        ValueError: If a loss has not been tuned.
    """
    best = best_trials(of_budget(lines, choice))
    specs = [
        choice.spec(record, encoder, name, "test")
        for record in choice.records
        for encoder in choice.encoders
        for name in (UNTRAINED if record.kind == "retrieval" else (BEFORE,))
    ]
    missing = []
    for seed in range(choice.seeds):
        for record, encoder, contender in choice.groups():
            trial = best.get((record.trained_on or record.name, encoder, contender.name))
            if trial is None and not untuned:
                missing.append(f"{contender.name} on {record.trained_on or record.name}")
                continue
            if trial is None:
                middle = contender.settings[len(contender.settings) // 2]
                rate = choice.known.get(record.trained_on, record).rate
                fields = {"setting": middle, "learning_rate": middle_learning_rate(encoder) * rate}
            else:
                fields = {"setting": trial["setting"], "learning_rate": trial["learning_rate"]}
            specs.append(choice.spec(record, encoder, contender.name, "test", seed=seed, **fields))
    if missing:
        raise ValueError(
            f"not tuned yet: {', '.join(dict.fromkeys(missing))}. Run `python -m eval tune` with the same --output, "
            "or compare at middle settings with --untuned."
        )
    return specs


@dataclass
class Executor:
    """Runs specs in worker processes, each on one core, and adds a line to the file when one ends.

    Args:
        results: The file; what it has is not run again.
        jobs: Worker processes.
        console: For the progress bar.
    """

    results: ResultsFile
    jobs: int = 1
    console: Console = field(default_factory=Console)

    def run_all(self, specs: Sequence[Spec]) -> None:
        """Run what is not yet there."""
        self._loop(((spec, None) for spec in specs), len(specs), lambda token, line: None)

    def tune_all(self, tunings: Sequence[Tuning]) -> None:
        """Run every loss's trials."""

        def ask() -> Iterator[tuple[Spec, Any]]:
            for tuning in tunings:
                while tuning.left:
                    spec, trial = tuning.ask()
                    yield spec, (tuning, trial)

        self._loop(ask(), sum(tuning.left for tuning in tunings), lambda token, line: token[0].tell(token[1], line))

    def _loop(self, asked: Iterator[tuple[Spec, Any]], total: int, tell: Callable[[Any, Line], None]) -> None:
        context = multiprocessing.get_context("spawn")
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with (
            ProcessPoolExecutor(self.jobs, mp_context=context, initializer=one_thread) as pool,
            Progress(*columns, console=self.console) as progress,
        ):
            bar = progress.add_task("runs", total=total)
            running: dict[Future[Line], Any] = {}
            for spec, token in asked:
                if self.results.has(spec.key):
                    tell(token, self.results.lines[spec.key])
                    progress.advance(bar)
                    continue
                running[pool.submit(run, spec)] = spec, token
                progress.update(bar, description=spec.title[:70])
                if len(running) >= self.jobs:
                    self._collect(running, tell, lambda: progress.advance(bar))
            while running:
                self._collect(running, tell, lambda: progress.advance(bar))

    def _collect(
        self, running: dict[Future[Line], Any], tell: Callable[[Any, Line], None], advance: Callable[[], None]
    ) -> None:
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            spec, token = running.pop(future)
            error = future.exception()
            line = future.result() if error is None else describe(spec) | failed(error)
            self.results.add(line)
            tell(token, line)
            if line["status"] == "failed":
                self.console.print(f"failed: {line['task']} {line['loss']}: {line['error']}", style="red", markup=False)
            advance()


def estimate_seconds(specs: Iterable[Spec], lines: Mapping[str, Line], jobs: int) -> float:
    """Guess how long runs will take: from runs of the same task and encoder if any are known, else from the encoder."""
    known: dict[tuple[str, str], list[float]] = {}
    for line in lines.values():
        if line["status"] == "ok":
            known.setdefault((line["task"], line["encoder"]), []).append(sum(line["seconds"].values()))
    total = 0.0
    for spec in specs:
        if spec.key in lines and lines[spec.key]["status"] == "ok":
            continue
        seconds = known.get((spec.record.name, spec.encoder))
        texts = spec.trained.steps * spec.trained.batch_size * (1 + spec.trained.documents) / 2
        total += float(np.mean(seconds)) if seconds else 3 + texts / TEXTS_PER_SECOND.get(spec.encoder, 40)
    return total / jobs


def with_budget(record: Record, steps: int | None, batch_size: int | None) -> Record:
    """Return a record with another training budget."""
    steps, batch_size = (
        own if given is None else given for given, own in ((steps, record.steps), (batch_size, record.batch_size))
    )
    return replace(record, steps=steps, batch_size=batch_size)


__all__ = [
    "Choice",
    "Executor",
    "Tuning",
    "best_trials",
    "estimate_seconds",
    "find",
    "learning_rates",
    "plan_tests",
    "with_budget",
]
