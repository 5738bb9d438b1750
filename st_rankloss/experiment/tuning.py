"""Tuning of a loss on the dev part, under a budget of time or trials, which a killed process continues."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from st_rankloss._extras import require
from st_rankloss.experiment.files import write
from st_rankloss.experiment.settings import read_budget

RATE_RANGE = 5.0
"""Learning rates are tuned from the default divided by this to the default times this."""

SETTING_RANGE = 4.0
"""The same for other settings."""

MOST_TRIALS = 200


@dataclass(frozen=True)
class Trial:
    """A tried setting.

    Args:
        learning_rate: The learning rate.
        setting: Settings of the loss.
        value: Main metric on dev.
        seconds: Duration.
    """

    learning_rate: float
    setting: dict[str, float]
    value: float
    seconds: float


def tune(
    run: Callable[[float, dict[str, float]], float],
    learning_rate: float,
    defaults: Mapping[str, float],
    budget: str,
    record: Path,
    *,
    seed: int = 0,
) -> list[Trial]:
    """Search learning rate and settings on a logarithmic scale around their defaults, with optuna's TPE.

    The first trial has the defaults. Each later one depends only on the seed and the trials before it, so the record of
    finished trials is all that a killed process needs to continue.

    Args:
        run: Maps a learning rate and settings to the main metric on dev, higher is better.
        learning_rate: The default learning rate.
        defaults: Other settings with their defaults, above 0.
        budget: See `read_budget`; of time, the trial that would exceed it is not started, except the first.
        record: File with a line per finished trial.
        seed: Seed of the search.

    Returns:
        All trials in order.
    """
    optuna = require("optuna", "cli", purpose="tuning")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    ranges = {name: (value / SETTING_RANGE, value * SETTING_RANGE) for name, value in defaults.items()}
    ranges["learning_rate"] = (learning_rate / RATE_RANGE, learning_rate * RATE_RANGE)
    scales = {name: optuna.distributions.FloatDistribution(*ends, log=True) for name, ends in ranges.items()}
    trials = list(_read(record))
    while _has_time(trials, budget):
        number = len(trials)
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed + number))
        for trial in trials:
            given = {**trial.setting, "learning_rate": trial.learning_rate}
            study.add_trial(optuna.trial.create_trial(params=given, distributions=scales, value=trial.value))
        chosen = dict(study.ask(scales).params) if trials else {**defaults, "learning_rate": learning_rate}
        rate, start = chosen.pop("learning_rate"), time.monotonic()
        value = run(rate, chosen)
        trials.append(Trial(rate, chosen, value if math.isfinite(value) else -1.0, time.monotonic() - start))
        write(record, "".join(json.dumps(asdict(trial)) + "\n" for trial in trials))
    return trials


def best(trials: list[Trial]) -> Trial:
    """Return the best trial, the first of equals."""
    return max(trials, key=lambda trial: trial.value)


def _has_time(trials: list[Trial], budget: str) -> bool:
    seconds, most = read_budget(budget)
    if not trials:
        return True
    if most is not None:
        return len(trials) < most
    spent = sum(trial.seconds for trial in trials)
    return len(trials) < MOST_TRIALS and spent + spent / len(trials) <= (seconds or 0)


def _read(record: Path) -> Iterator[Trial]:
    if not record.exists():
        return
    for line in record.read_text(encoding="utf-8").splitlines():
        yield Trial(**json.loads(line))
