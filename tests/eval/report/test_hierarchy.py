"""The hierarchical model, against its definition in plain loops, known answers, and simulated tasks."""

from __future__ import annotations

import math

import numpy as np
import pytest

from eval.report.hierarchy import SCALE, fit, merge
from eval.report.significance import Estimate

OBSERVED = [0.06, -0.01, 0.02, 0.11]
ERRORS = [0.01, 0.02, 0.005, 0.03]


def density(x, mean, error):
    """Of a normal distribution."""
    return math.exp(-0.5 * ((x - mean) / error) ** 2) / error / math.sqrt(2 * math.pi)


def grid():
    """Points of (mu, tau), with the density of the prior and the likelihood at each: the definition, point by point."""
    for place in range(800):
        tau = 0.00025 + 0.0005 * place
        for other in range(700):
            mu = -0.35 + 0.001 * other
            weight = 1 / (1 + (tau / SCALE) ** 2)
            for value, error in zip(OBSERVED, ERRORS, strict=True):
                weight *= density(value, mu, math.sqrt(error**2 + tau**2))
            yield mu, tau, weight


@pytest.fixture(scope="module")
def oracle():
    """Posterior means of mu and tau, of the first task, and probabilities of at most 0 and of a new task below 0."""
    total = mu_sum = tau_sum = first = below = new = 0.0
    for mu, tau, weight in grid():
        total += weight
        mu_sum += weight * mu
        tau_sum += weight * (tau <= 0.04)
        first += weight * (OBSERVED[0] / ERRORS[0] ** 2 + mu / tau**2) / (1 / ERRORS[0] ** 2 + 1 / tau**2)
        below += weight * (1.0 if mu < -1e-9 else 0.5 if mu < 1e-9 else 0.0)
        new += weight * 0.5 * math.erfc(mu / tau / math.sqrt(2))
    return {
        name: value / total
        for name, value in locals().items()
        if name in ("mu_sum", "tau_sum", "first", "below", "new")
    }


def test_the_posterior_is_the_definition_summed_over_a_fine_grid(oracle):
    found = fit(OBSERVED, ERRORS)
    assert found.mean.estimate.value == pytest.approx(oracle["mu_sum"], abs=2e-4)
    assert found.mean.cdf(0.0) == pytest.approx(oracle["below"], abs=2e-3)
    assert found.tasks[0].estimate.value == pytest.approx(oracle["first"], abs=2e-4)
    assert found.new.cdf(0.0) == pytest.approx(oracle["new"], abs=2e-3)
    assert (found.spread.value > 0.04) == (oracle["tau_sum"] < 0.5)


def test_intervals_hold_95_percent():
    found = fit(OBSERVED, ERRORS)
    for mixture in (found.mean, found.new, *found.tasks):
        estimate = mixture.estimate
        assert mixture.cdf(estimate.low) == pytest.approx(0.025, abs=1e-5)
        assert mixture.cdf(estimate.high) == pytest.approx(0.975, abs=1e-5)


def test_tasks_that_agree_are_pooled_by_precision():
    """With many exact tasks around one value tau is small, and the mean weighs tasks by 1 / s^2."""
    generator = np.random.default_rng(0)
    errors = generator.uniform(0.01, 0.03, 3_000)
    observed = 0.02 + errors * generator.standard_normal(3_000)
    found = fit(observed, errors)
    pooled = float((observed / errors**2).sum() / (1 / errors**2).sum())
    assert found.spread.value < 0.003
    assert found.mean.estimate.value == pytest.approx(pooled, abs=1e-4)


def test_tasks_without_errors_give_the_plain_mean_and_do_not_shrink():
    """With s = 0 every task is known exactly, and mu is estimated as from a sample of values."""
    observed = [0.1, 0.2, 0.3, 0.0, 0.4]
    found = fit(observed, [0.0] * 5)
    assert found.mean.estimate.value == pytest.approx(0.2)
    assert [task.estimate.value for task in found.tasks] == pytest.approx(observed)
    assert found.tasks[0].estimate.high == pytest.approx(0.1, abs=1e-6)


def test_an_uncertain_task_shrinks_most_and_every_task_towards_the_mean():
    found = fit([0.0, 0.0, 0.0, 0.1, 0.1], [0.01, 0.01, 0.01, 0.01, 0.1])
    mean = found.mean.estimate.value
    certain, uncertain = (found.tasks[place].estimate.value for place in (3, 4))
    assert mean < uncertain < certain < 0.1
    width = [task.estimate.high - task.estimate.low for task in found.tasks]
    assert width[4] > 2 * width[3]
    assert width[4] < 2 * 1.96 * 0.1


def test_a_new_task_is_less_certain_than_the_mean():
    found = fit(OBSERVED, ERRORS)
    assert found.new.estimate.low < found.mean.estimate.low < found.mean.estimate.high < found.new.estimate.high
    assert found.new.estimate.value == found.mean.estimate.value


def test_shifting_and_turning_the_differences_shifts_and_turns_the_mean():
    found, turned = fit(OBSERVED, ERRORS), fit([1 - value for value in OBSERVED], ERRORS)
    assert turned.mean.estimate.value == pytest.approx(1 - found.mean.estimate.value)
    assert turned.mean.estimate.low == pytest.approx(1 - found.mean.estimate.high, abs=1e-6)
    assert turned.spread.value == pytest.approx(found.spread.value)


@pytest.mark.parametrize("spread", [0.0, 0.01, 0.03, 0.1])
def test_intervals_cover_the_true_mean_and_a_new_task(spread):
    """In 1,000 data sets of 16 tasks; a fit that ignored the spread would miss the mean in half of them at .03."""
    generator = np.random.default_rng(1)
    held, held_new, number = 0, 0, 1_000
    for _ in range(number):
        errors = generator.uniform(0.003, 0.03, 16)
        true = 0.02 + spread * generator.standard_normal(17)
        found = fit(true[:16] + errors * generator.standard_normal(16), errors)
        held += 0.025 <= found.mean.cdf(0.02) <= 0.975
        held_new += 0.025 <= found.new.cdf(true[16]) <= 0.975
    assert held / number >= 0.93
    assert held_new / number >= 0.93
    if spread > 0.0:
        assert held / number <= 0.985


def test_three_tasks_cover_with_a_wide_interval():
    generator = np.random.default_rng(2)
    held, number = 0, 1_000
    for _ in range(number):
        errors = generator.uniform(0.003, 0.03, 3)
        found = fit(0.02 + 0.03 * generator.standard_normal(3) + errors * generator.standard_normal(3), errors)
        held += 0.025 <= found.mean.cdf(0.02) <= 0.975
    assert held / number >= 0.93


@pytest.mark.parametrize(("differences", "errors"), [([0.1, 0.2], [0.1, 0.1]), ([0.1, 0.2, math.nan], [0.1] * 3)])
def test_too_few_tasks_and_unknown_values_are_refused(differences, errors):
    with pytest.raises(ValueError, match="at least 3 finite differences"):
        fit(differences, errors)


def test_two_encoders_on_a_task_count_as_one_with_no_smaller_error():
    """If they agree in full, the mean of two has the error of one; counted apart it would be 1 / sqrt(2) of it."""
    pairs = [("a", Estimate(0.1, error=0.02)), ("b", Estimate(0.5, error=0.1)), ("a", Estimate(0.2, error=0.02))]
    found = merge([*pairs, ("c", Estimate(0.3))])
    assert list(found) == ["a", "b"]
    assert found["a"] == pytest.approx((0.15, 0.02))
    assert found["b"] == (0.5, 0.1)
