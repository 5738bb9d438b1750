"""Tuning: a loss's trials on dev."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optuna

from eval.plans.comparison import Choice
from eval.plans.contenders import Contender
from eval.plans.learning_rates import learning_rates
from eval.results import Run, Spec
from eval.tasks.records import Record


class Tuning:
    """One loss's trials: optuna proposes settings from a grid and learns their scores on dev.

    Args:
        choice: The comparison.
        record: The task.
        encoder: Name of the encoder.
        contender: The loss.
    """

    def __init__(self, choice: Choice, record: Record, encoder: str, contender: Contender) -> None:
        self.choice, self.record, self.encoder, self.contender = choice, record, encoder, contender
        alone = choice.protocol == "defaults"  # the learning rate alone
        self.settings = [contender.default] if alone else contender.settings
        places = range(len(self.settings))
        rates = learning_rates(record, encoder, 3 if alone else len(self.settings))
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

    def recall(self, known: Callable[[str], bool]) -> None:
        """Start with the points already tried, whose keys are ``known``: asked again, optuna may choose others."""
        if self.left < len(self.unseen):
            for point in self.unseen:
                if known(self._spec(point).key):
                    self.study.enqueue_trial(point)

    def ask(self) -> tuple[Spec, optuna.Trial]:
        """Choose the next trial, a point of the grid that has not been tried."""
        self.left -= 1
        trial = self.study.ask(self.space)
        if trial.params not in self.unseen:
            self.study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            self.study.enqueue_trial(self.unseen[len(self.unseen) // 2])
            trial = self.study.ask(self.space)
        self.unseen.remove(trial.params)
        return self._spec(trial.params), trial

    def _spec(self, point: dict[str, Any]) -> Spec:
        chosen = {"setting": self.settings[point["setting"]], "learning_rate": point["learning_rate"]}
        return self.choice.spec(self.record, self.encoder, self.contender.name, "dev", **chosen)

    def tell(self, trial: optuna.Trial, run: Run) -> None:
        """Report a trial's score."""
        if run.ok:
            self.study.tell(trial, run.scores[run.metric])
        else:
            self.study.tell(trial, state=optuna.trial.TrialState.FAIL)
