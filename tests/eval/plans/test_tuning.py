"""Tuning: grids, trials, and what optuna learns."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from eval.plans.comparison import Choice
from eval.plans.learning_rates import ENCODERS, learning_rates, middle_learning_rate
from eval.plans.losses import contenders
from eval.plans.tuning import Tuning
from tests.eval.tiny import line


@pytest.mark.parametrize("encoder", [*ENCODERS, "some/model"])
def test_learning_rates_lie_around_the_encoders_own(world, encoder):
    record = world.record("alike", rate=2.0)
    few, many = learning_rates(record, encoder, 3), learning_rates(record, encoder, 1)
    middle = 2 * middle_learning_rate(encoder)
    assert (len(few), len(many)) == (3, 9)
    for rates in (few, many):
        assert rates == sorted(rates)
        assert rates[len(rates) // 2] == pytest.approx(middle, rel=1e-3)
        assert rates[-1] / rates[0] == pytest.approx(9, rel=1e-3)


@pytest.mark.parametrize("loss", ["SupCon", "recipe"])
def test_tuning_tries_the_whole_grid(choice, loss):
    record = choice.records[0]
    tuning = Tuning(choice, record, "static", contenders(record)[loss])
    specs = [tuning.ask()[0] for _ in range(tuning.left)]
    assert tuning.left == 0
    rates, settings = learning_rates(record, "static", 3), contenders(record)[loss].settings
    tried = {(json.dumps(spec.setting), spec.learning_rate) for spec in specs}
    assert tried == {(json.dumps(setting), rate) for setting in settings for rate in rates}
    assert {(spec.stage, spec.seed, spec.loss) for spec in specs} == {("dev", 0, loss)}


def test_a_loss_without_settings_has_nine_learning_rates(world):
    record = world.records["alike"]
    tuning = Tuning(Choice([record], ["static"]), record, "static", contenders(record)["Pearson"])
    specs = [tuning.ask()[0] for _ in range(tuning.left)]
    assert [spec.learning_rate for spec in specs] == learning_rates(record, "static", 1)
    assert {json.dumps(spec.setting) for spec in specs} == {"{}"}


@pytest.mark.parametrize(("loss", "default"), [("SupCon", {"temperature": 0.1}), ("recipe", {})])
def test_defaults_are_tuned_by_the_learning_rate_alone(choice, loss, default):
    record = choice.records[0]
    tuning = Tuning(replace(choice, protocol="defaults"), record, "static", contenders(record)[loss])
    specs = [tuning.ask()[0] for _ in range(tuning.left)]
    assert [spec.learning_rate for spec in specs] == learning_rates(record, "static", 3)
    assert all(spec.setting == default for spec in specs)
    tuned = Tuning(choice, record, "static", contenders(record)[loss])
    same = {spec.key for spec in specs} & {tuned.ask()[0].key for _ in range(tuned.left)}
    assert len(same) == (3 if loss == "SupCon" else 0)  # a default in the grid is one trial for both protocols


@pytest.mark.parametrize("trials", [1, 4, 6, 8])
@pytest.mark.parametrize("loss", ["CoSENT", "Pearson"])
def test_fewer_trials_than_the_grid_are_all_different_and_of_it(world, trials, loss):
    record = world.records["alike"]
    contender = contenders(record)[loss]

    def keys():
        tuning = Tuning(Choice([record], ["static"], trials=trials), record, "static", contender)
        found = []
        for i in range(tuning.left):
            spec, token = tuning.ask()
            assert spec.setting in contender.settings
            assert spec.learning_rate in learning_rates(record, "static", len(contender.settings))
            found.append(spec.key)
            tuning.tell(token, line(spec, i / 10))
        return found

    first = keys()
    assert first == keys()
    assert len(first) == trials
    assert len(set(first)) == trials


def test_failed_trials_are_reported_as_failed(choice):
    record = choice.records[0]
    tuning = Tuning(choice, record, "static", contenders(record)["SupCon"])
    for status, score in (("ok", 0.5), ("failed", 0.9), ("ok", 0.7)):
        spec, token = tuning.ask()
        tuning.tell(token, line(spec, score, status))
    assert [t.state.name for t in tuning.study.trials[:3]] == ["COMPLETE", "FAIL", "COMPLETE"]
    assert tuning.study.best_value == 0.7
