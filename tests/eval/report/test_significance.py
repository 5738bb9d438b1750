"""Intervals and tests, against their definitions: coverage in simulations, hand computation, and scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from eval.report.significance import (
    Estimate,
    Measurement,
    bootstrap_error,
    estimate_difference,
    estimate_mean,
    holm,
    verdict,
)


def measured(rows):
    """Measurements of seeds 0, 1, ... from their items."""
    return {seed: Measurement(float(np.mean(row)), np.asarray(row, dtype=float)) for seed, row in enumerate(rows)}


def scored(*scores):
    """Measurements of seeds 0, 1, ... without items."""
    return {seed: Measurement(score) for seed, score in enumerate(scores)}


def simulate(seeds, queries, by_seed, by_query, both, generator):
    """Differences with a known mean of 0 and noise of three kinds."""
    return (
        by_seed * generator.standard_normal((seeds, 1))
        + by_query * generator.standard_normal((1, queries))
        + both * generator.standard_normal((seeds, queries))
    )


@pytest.mark.parametrize(
    ("seeds", "noise"),
    [(3, (0.1, 0.0, 0.1)), (5, (0.1, 0.0, 0.1)), (3, (0.0, 1.0, 0.1)), (3, (0.0, 0.0, 1.0)), (3, (0.05, 0.5, 0.5))],
    ids=["three seeds vary", "five seeds vary", "queries vary", "neither alone", "all"],
)
def test_interval_covers_the_true_difference(seeds, noise):
    """In 2,000 trials it misses 1 to 6 %; a bootstrap's percentiles miss 24 % where three seeds vary."""
    generator = np.random.default_rng(0)
    shift, misses, trials = 0.3, 0, 250
    for _ in range(trials):
        theirs = generator.uniform(0, 1, (seeds, 60))
        ours = theirs + shift + simulate(seeds, 60, *noise, generator)
        found = estimate_difference(measured(ours), measured(theirs))
        misses += not found.low <= shift <= found.high
    assert misses / trials <= 0.09


def test_interval_is_no_wider_than_it_must_be():
    """Where queries alone vary, it is Student's over queries."""
    by_query = np.random.default_rng(2).normal(0.1, 1, 200)
    found = estimate_difference(measured([by_query] * 4), measured(np.zeros((4, 200))))
    low, high = stats.t.interval(0.95, 199, by_query.mean(), stats.sem(by_query))
    assert found.low == pytest.approx(low, abs=0.02)
    assert found.high == pytest.approx(high, abs=0.02)
    assert found.p == pytest.approx(stats.ttest_1samp(by_query, 0).pvalue, abs=0.02)


def test_pairing_removes_what_both_losses_share():
    generator = np.random.default_rng(3)
    hard = generator.uniform(0, 1, 100)
    ours, theirs = ([hard + shift + 0.01 * generator.standard_normal(100) for _ in range(3)] for shift in (0.02, 0.0))
    difference = estimate_difference(measured(ours), measured(theirs))
    assert difference.high - difference.low < 0.01
    mean = estimate_mean(measured(ours))
    assert mean.high - mean.low > 0.08


def test_one_seed_tells_of_queries():
    generator = np.random.default_rng(4)
    row = generator.normal(0.5, 1, 300)
    found = estimate_mean(measured([row]))
    assert found.high - found.value == pytest.approx(1.968 * row.std(ddof=1) / math.sqrt(300), rel=0.06)


def test_standard_error_of_seeds_counts_their_fewness():
    """For items that differ by seed alone, it is s / sqrt(seeds), and Student's degrees of freedom are seeds - 1."""
    by_seed = np.array([0.1, 0.4, 0.3])
    error, freedom = bootstrap_error(np.repeat(by_seed[:, None], 50, axis=1), resamples=40_000)
    assert error == pytest.approx(by_seed.std(ddof=1) / math.sqrt(3), rel=0.02)
    assert freedom == pytest.approx(2)


def test_without_items_the_interval_is_students_over_seeds():
    found = estimate_difference(scored(0.5, 0.7, 0.6), scored(0.4, 0.5, 0.6))
    reference = stats.ttest_rel([0.5, 0.7, 0.6], [0.4, 0.5, 0.6])
    low, high = reference.confidence_interval()
    assert found.value == pytest.approx(0.1)
    assert (found.low, found.high, found.p) == pytest.approx((low, high, reference.pvalue))
    assert found.error == pytest.approx(stats.sem([0.1, 0.2, 0.0]))


def test_only_common_seeds_are_compared():
    ours = {0: Measurement(0.5), 1: Measurement(0.6), 2: Measurement(0.9)}
    theirs = {2: Measurement(0.8), 0: Measurement(0.4), 7: Measurement(0.0)}
    assert estimate_difference(ours, theirs).value == pytest.approx(0.1)


def test_there_is_no_interval_where_nothing_varies():
    one = estimate_difference(scored(0.5, 0.6), scored(0.4))
    assert one.value == pytest.approx(0.1)
    assert all(map(math.isnan, (one.low, one.high, one.p)))
    none = estimate_difference(scored(0.5), {3: Measurement(0.4)})
    assert all(map(math.isnan, (none.value, none.low, none.high, none.p)))
    assert verdict(one, holm([one.p])[0]) == "–"


def test_a_difference_that_never_varies_is_no_win():
    """Two seeds that give the same numbers are one seed; p = 0 would call it a win."""
    found = estimate_difference(scored(0.5, 0.5), scored(0.4, 0.4))
    assert found.value == pytest.approx(0.1)
    assert all(map(math.isnan, (found.low, found.high, found.p)))


def test_standard_error_of_queries_counts_their_fewness():
    error, freedom = bootstrap_error(np.array([[0.1, 0.5, 0.4]]), resamples=40_000)
    assert error == pytest.approx(np.std([0.1, 0.5, 0.4], ddof=1) / math.sqrt(3), rel=0.02)
    assert freedom == pytest.approx(2)


@pytest.mark.parametrize("rows", [scored(0.3, 0.4), measured(np.random.default_rng(5).uniform(size=(3, 40)))])
def test_identical_losses_tie(rows):
    found = estimate_difference(rows, rows)
    assert found == Estimate(0.0, 0.0, 0.0, 1.0, 0.0)
    assert verdict(found, found.p) == "tie"


def test_undefined_items_are_left_out():
    generator = np.random.default_rng(6)
    rows = generator.uniform(size=(2, 50))
    holes = np.insert(rows, 20, math.nan, axis=1)
    with_holes = {seed: Measurement(float(rows[seed].mean()), holes[seed]) for seed in range(2)}
    assert estimate_mean(with_holes) == estimate_mean(measured(rows))


def test_items_of_different_queries_are_refused():
    with pytest.raises(ValueError, match="got 5 and 6 of them"):
        estimate_difference(measured(np.zeros((2, 5))), measured(np.zeros((2, 6))))
    with pytest.raises(ValueError, match=r"seeds have \[4, 5\]"):
        estimate_mean(measured([np.zeros(4), np.zeros(5)]))


def test_results_repeat():
    rows = measured(np.random.default_rng(7).uniform(size=(3, 40)))
    assert estimate_mean(rows) == estimate_mean(rows)


def test_holm_by_hand():
    """Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1, and never less than the one before; NaN does not count."""
    assert holm([0.01, math.nan, 0.04, 0.03, 0.005])[2:] == pytest.approx([0.06, 0.06, 0.02])
    assert holm([0.01, 0.04, 0.03, 0.005])[0] == pytest.approx(0.03)
    assert math.isnan(holm([0.01, math.nan])[1])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize(
    ("value", "corrected", "expected"),
    [(0.1, 0.049, "win"), (-0.1, 0.049, "loss"), (0.1, 0.05, "tie"), (0.1, math.nan, "–")],
)
def test_verdict(value, corrected, expected):
    assert verdict(Estimate(value), corrected) == expected
