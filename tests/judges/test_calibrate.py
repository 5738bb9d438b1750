"""Calibrations, against scikit-learn's isotonic regression and a sort by hand."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from st_rankloss.judges import Calibrated, Calibration, isotonic, quantiles


def test_isotonic_calibration_is_that_of_scikit_learn():
    draw = np.random.default_rng(0)
    for _ in range(200):
        count = int(draw.integers(2, 40))
        scores = draw.integers(0, 12, count) / 4 if draw.random() < 0.5 else draw.normal(size=count)
        grades = draw.integers(0, 4, count)
        asked = draw.normal(size=50) * 4
        expected = IsotonicRegression(out_of_bounds="clip").fit(scores, grades).predict(asked)
        fitted = isotonic(scores.tolist(), grades.tolist())
        assert fitted(asked.tolist()) == pytest.approx(expected.tolist(), abs=1e-9)
        assert all(a <= b for a, b in zip(fitted.grades, fitted.grades[1:], strict=False))


def test_quantiles_give_each_score_the_grade_at_its_share():
    draw = random.Random(0)
    for _ in range(200):
        scores = [draw.randrange(8) / 2 for _ in range(draw.randint(2, 30))]
        grades = [draw.randrange(4) for _ in range(draw.randint(2, 30))]
        fitted, by_share = quantiles(scores, grades), {}
        for place, score in enumerate(sorted(scores)):
            share = (place + 0.5) / len(scores)
            number = min(len(grades) - 1, math.ceil(share * len(grades)) - 1)
            by_share.setdefault(score, []).append(sorted(grades)[number])
        expected = [sum(by_share[score]) / len(by_share[score]) for score in scores]
        assert fitted(scores) == pytest.approx(expected)


def test_as_many_scores_as_grades_without_ties_get_exactly_the_grades():
    grades = [3, 0, 0, 1, 2, 0]
    assert sorted(quantiles([0.1, 0.9, 0.2, 0.5, 0.4, 0.3], grades)([0.1, 0.2, 0.3, 0.4, 0.5, 0.9])) == sorted(grades)


@pytest.mark.parametrize("fit", [isotonic, quantiles])
def test_what_is_unjudged_is_left_out_and_stays_unjudged(fit):
    grades = [0, 1, 2, 3]
    missing = (
        fit([0.1, None, 0.2, math.nan, 0.3, 0.4], [0, 9, 1, 9, 2, 3])
        if fit is isotonic
        else fit([0.1, None, 0.2, math.nan, 0.3, 0.4], grades)
    )
    assert missing == fit([0.1, 0.2, 0.3, 0.4], grades)
    assert missing([None, math.nan, 9.0]) == [None, None, 3.0]


def test_a_calibrated_judge_maps_grades_and_leaves_none():
    judge = Calibrated(lambda pairs: [0.25, None, 2.0], Calibration((0.0, 1.0), (0.0, 4.0)))
    assert judge([("a", "b")] * 3) == [1, None, 4]
    with pytest.raises(TypeError, match="judge must be a callable of .* got 'judge'"):
        Calibrated("judge", Calibration((0.0,), (0.0,)))
    with pytest.raises(TypeError, match=r"calibration must be a Calibration, as from isotonic\(\), got None"):
        Calibrated(lambda pairs: pairs, None)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: isotonic([0.1, None], [0, 1]), "at least two scores and grades, got 1 and 1"),
        (lambda: isotonic([0.1], [0, 1]), "each score needs a grade, got 1 and 2"),
        (lambda: isotonic([0.1, math.inf], [0, 1]), "scores must be finite, got inf"),
        (lambda: isotonic([0.1, 0.2], [0, -1]), "grades must be finite and at least 0, got"),
        (lambda: quantiles([0.1, 0.2], [1]), "at least two scores and grades, got 2 and 1"),
        (lambda: quantiles([0.1, 0.2], [1, math.nan]), "grades must be finite and at least 0, got"),
        (lambda: isotonic(["low", "high"], [0, 1]), r"scores must be numbers, got \['low', 'high'\]"),
        (lambda: quantiles([0.1, 0.2], [0, "high"]), r"grades must be numbers, got \[0, 'high'\]"),
        (lambda: Calibration((), ()), "each score needs a grade, got 0 and 0"),
        (lambda: Calibration((0, 1), (0,)), "each score needs a grade, got 2 and 1"),
        (lambda: Calibration((1, 0), (0, 1)), "scores must be strictly increasing"),
        (lambda: Calibration((0, 1), (1, 0)), "grades at least 0 and not decreasing"),
        (lambda: Calibration((0, 1), (-1, 0)), "grades at least 0 and not decreasing"),
        (lambda: Calibration((0, math.nan), (0, 1)), "strictly increasing"),
    ],
)
def test_wrong_calibrations_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
