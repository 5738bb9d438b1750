"""Raw scores to grades, from a few human judgements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from st_rankloss.judges.base import Judge, Pair, ask, is_judge


@dataclass(frozen=True)
class Calibration:
    """A map from scores to grades: linear between points, constant outside them.

    Args:
        scores: Scores of the points, strictly increasing; at least one.
        grades: The grade of each, at least 0 and never decreasing.

    Raises:
        ValueError: If they break these rules.

    Example:
        >>> Calibration((0.2, 0.6), (0.0, 2.0))([0.1, 0.3, 0.9, None])
        [0.0000, 0.5000, 2.0000, None]
    """

    scores: Sequence[float]
    grades: Sequence[float]

    def __post_init__(self) -> None:
        if not len(self.scores) or len(self.scores) != len(self.grades):
            raise ValueError(f"each score needs a grade, got {len(self.scores)} and {len(self.grades)}.")
        rises = (np.diff(self.scores) > 0).all() and (np.diff(self.grades) >= 0).all()
        if not (rises and np.isfinite([*self.scores, *self.grades]).all() and min(self.grades) >= 0):
            raise ValueError(
                "scores must be strictly increasing and grades at least 0 and not decreasing, all finite, got "
                f"{self.scores} and {self.grades}."
            )

    def __call__(self, scores: Sequence[float | None]) -> list[float | None]:
        """Map scores.

        Args:
            scores: Any scores; None and NaN stay unjudged.

        Returns:
            Their grades.
        """
        values = _as_array(scores)
        grades = np.interp(values, self.scores, self.grades)
        return [None if gone else grade for gone, grade in zip(np.isnan(values), grades.tolist(), strict=True)]


def isotonic(scores: Sequence[float | None], grades: Sequence[float]) -> Calibration:
    """Fit the increasing map that is closest to human grades in squares, by isotonic regression.

    Args:
        scores: A judge's raw scores of a few pairs; those that are None or NaN are left out.
        grades: The human grade of each pair, at least 0. At least two must remain.

    Returns:
        The map.

    Raises:
        ValueError: If there are too few, or a number is not finite.

    Example:
        >>> isotonic([0.1, 0.4, 0.3, 0.9], [0, 1, 2, 3])([0.2, 0.35, 1.0])
        [0.7500, 1.5000, 3.0000]

    Source: the fit is that of scikit-learn's IsotonicRegression, by scipy.
    """
    if len(scores) != len(grades):
        raise ValueError(f"each score needs a grade, got {len(scores)} and {len(grades)}.")
    values, human = _as_array(scores), _as_array(grades, "grades")
    known = ~np.isnan(values)
    distinct, mean, weight = _merge(*_checked(values[known], human[known]))
    fitted = isotonic_regression(mean, weights=weight).x
    return Calibration(tuple(distinct.tolist()), tuple(fitted.tolist()))


def quantiles(scores: Sequence[float | None], grades: Sequence[float]) -> Calibration:
    """Map scores so that grades are distributed as human grades are, without judgements of the same pairs.

    The score above a share of all scores gets the grade above the same share of all grades. It assumes that both are of
    pairs drawn alike.

    Args:
        scores: Raw scores of many pairs; those that are None or NaN are left out. At least two must remain.
        grades: Human grades of any pairs, at least two, at least 0.

    Returns:
        The map.

    Raises:
        ValueError: If there are too few, or a number is not finite.

    Example:
        >>> quantiles([0.1, 0.2, 0.3, 0.4], [0, 0, 1, 3])([0.1, 0.3, 0.4])
        [0.0000, 1.0000, 3.0000]
    """
    values = _as_array(scores)
    values, human = _checked(values[~np.isnan(values)], _as_array(grades, "grades"))
    shares = (np.arange(len(values)) + 0.5) / len(values)
    distinct, mean, _ = _merge(np.sort(values), np.quantile(human, shares, method="inverted_cdf"))
    return Calibration(tuple(distinct.tolist()), tuple(mean.tolist()))


def _as_array(values: Sequence[float | None], name: str = "scores") -> NDArray[np.float64]:
    """Return numbers as an array, None as NaN."""
    try:
        return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be numbers, got {values!r:.80}: {error}.") from error


def _checked(
    scores: NDArray[np.float64], grades: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return both, if there are enough and all are finite."""
    if min(len(scores), len(grades)) < 2:
        raise ValueError(f"a calibration needs at least two scores and grades, got {len(scores)} and {len(grades)}.")
    for name, values, least in (("scores", scores, -np.inf), ("grades", grades, 0)):
        wrong = values[~np.isfinite(values) | (values < least)]
        if len(wrong):
            raise ValueError(f"{name} must be finite{' and at least 0' * (least == 0)}, got {wrong[0]:g}.")
    return scores, grades


def _merge(
    scores: NDArray[np.float64], grades: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return distinct scores, the mean grade of each, and the number of pairs that have it."""
    distinct, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    return distinct, np.bincount(place, weights=grades) / counts, counts.astype(np.float64)


@dataclass(frozen=True)
class Calibrated:
    """A judge whose scores become grades by a calibration.

    Args:
        judge: The judge; with `Cached` inside, its raw scores are kept.
        calibration: From `isotonic` or `quantiles`.

    Raises:
        TypeError: If ``judge`` is not a judge, or ``calibration`` not a `Calibration`.

    Example:
        >>> judge = Calibrated(lambda pairs: [0.5] * len(pairs), Calibration((0.0, 1.0), (0.0, 3.0)))
        >>> judge([("red", "rose")])
        [1.5000]
    """

    judge: Judge
    calibration: Calibration

    def __post_init__(self) -> None:
        if not is_judge(self.judge):
            raise TypeError(f"judge must be a callable of (query, document) pairs, got {self.judge!r}.")
        if not isinstance(self.calibration, Calibration):
            raise TypeError(f"calibration must be a Calibration, as from isotonic(), got {self.calibration!r}.")

    @property
    def listwise(self) -> bool:
        """Whether a grade depends on the other documents."""
        return getattr(self.judge, "listwise", False)

    def __call__(self, pairs: Sequence[Pair]) -> list[float | None]:
        """Grade pairs.

        Args:
            pairs: Queries and documents.

        Returns:
            A grade per pair; None where the judge cannot tell.
        """
        return self.calibration(ask(self.judge, list(pairs)))
