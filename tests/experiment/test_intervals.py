"""Bootstrap intervals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from st_rankloss.experiment.intervals import estimate_difference, estimate_mean


def test_an_interval_is_that_of_the_normal_distribution_for_many_values():
    values = np.random.default_rng(1).normal(size=2_000)
    found = estimate_mean(values)
    error = values.std() / np.sqrt(len(values))
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - norm.ppf(0.975) * error, abs=0.1 * error)
    assert found.high == pytest.approx(values.mean() + norm.ppf(0.975) * error, abs=0.1 * error)


def test_intervals_hold_the_true_mean_in_nineteen_of_twenty_samples():
    random = np.random.default_rng(2)
    held = [
        abs(e.low) + abs(e.high) == e.high - e.low for e in (estimate_mean(random.normal(size=100)) for _ in range(200))
    ]
    assert 0.9 < np.mean(held) < 0.98


def test_undefined_values_are_left_out_of_both_sides():
    ours, theirs = np.array([0.5, np.nan, 0.7]), np.array([0.4, 0.1, np.nan])
    assert estimate_difference(ours, theirs).value == pytest.approx(0.1)
    assert estimate_mean(np.array([0.25])).low == 0.25
