"""Tuning under a budget."""

from __future__ import annotations

import math

import pytest

from st_rankloss.experiment.tuning import best, tune


def peak(rate, setting):
    """Best at a learning rate of .02 and a scale of 5."""
    return -abs(math.log(rate / 0.02)) - abs(math.log(setting["scale"] / 5))


def test_tuning_starts_at_the_defaults_and_finds_better_ones(tmp_path):
    trials = tune(peak, 0.01, {"scale": 10.0}, "30", tmp_path / "trials.jsonl")
    assert (trials[0].learning_rate, trials[0].setting) == (0.01, {"scale": 10.0})
    assert len(trials) == 30
    assert best(trials).value > trials[0].value + 0.8
    assert all(0.002 <= t.learning_rate <= 0.05 and 2.5 <= t.setting["scale"] <= 40 for t in trials)


@pytest.mark.parametrize("stop", [0, 1, 5, 11])
def test_a_killed_tuning_makes_the_same_trials(tmp_path, stop):
    whole = tune(peak, 0.01, {"scale": 10.0}, "12", tmp_path / "whole.jsonl", seed=3)
    calls = []

    def killed(rate, setting):
        if len(calls) == stop:
            raise KeyboardInterrupt
        calls.append(rate)
        return peak(rate, setting)

    with pytest.raises(KeyboardInterrupt):
        tune(killed, 0.01, {"scale": 10.0}, "12", tmp_path / "killed.jsonl", seed=3)
    resumed = tune(peak, 0.01, {"scale": 10.0}, "12", tmp_path / "killed.jsonl", seed=3)
    assert [(t.learning_rate, t.setting, t.value) for t in resumed] == [
        (t.learning_rate, t.setting, t.value) for t in whole
    ]


def test_a_time_is_not_exceeded_by_another_trial(tmp_path, monkeypatch):
    clock = iter(range(0, 1_000, 20))  # each trial takes 20 seconds
    monkeypatch.setattr("st_rankloss.experiment.tuning.time.monotonic", lambda: next(clock))
    assert len(tune(peak, 0.01, {"scale": 10.0}, "90s", tmp_path / "a.jsonl")) == 4
    assert len(tune(peak, 0.01, {"scale": 10.0}, "5s", tmp_path / "b.jsonl")) == 1


def test_a_trial_that_diverges_is_never_the_best(tmp_path):
    values = iter([0.1, math.nan, 0.2])
    trials = tune(lambda rate, setting: next(values), 0.01, {}, "3", tmp_path / "trials.jsonl")
    assert best(trials).value == 0.2
