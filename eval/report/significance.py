"""The significance of a difference between two losses, given several seeds and the queries of a test.

An interval needs something that varies, queries or seeds; without either it is NaN, never a guess.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

RESAMPLES = 2_000
LEVEL = 0.05
"""Level of every test; intervals cover 1 - LEVEL."""

Floats = NDArray[np.float64]

_BLOCK = 2_000_000  # random places drawn at once, to bound memory
_ROUNDING = 1e-12  # smaller variation is rounding


@dataclass(frozen=True)
class Estimate:
    """A mean or a difference of means; NaN where unknown.

    Args:
        value: The estimate.
        low: Lower end of its 95 % interval.
        high: Upper end.
        p: Two-sided p of the hypothesis that it is 0.
        error: Standard error.
    """

    value: float
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan
    error: float = math.nan


@dataclass(frozen=True, eq=False)
class Measurement:
    """One seed's score and, where the score is their mean, its value for every query."""

    score: float
    items: Floats | None = None


Measurements = Mapping[int, Measurement]
"""Measurements of one loss on one task, by seed."""


def estimate_mean(measurements: Measurements) -> Estimate:
    """Estimate a loss's mean score over seeds; see `estimate_difference` for its interval."""
    runs = list(measurements.values())
    return _estimate(np.array([run.score for run in runs]), _stack([run.items for run in runs]))


def estimate_difference(ours: Measurements, theirs: Measurements) -> Estimate:
    """Estimate the mean difference of two losses' scores on one task, from the seeds that both have.

    With items, its standard error is that of a bootstrap of queries and seeds (`bootstrap_error`); without, that of
    the differences over seeds. The interval and p are Student's, which accounts for few seeds: percentiles of a
    bootstrap of three seeds would exclude a true difference in a quarter of all cases in which only seeds vary. One
    seed with items accounts for queries only; one seed without items gives no interval.

    Args:
        ours: Measurements of one loss by seed.
        theirs: Measurements of the other.

    Returns:
        Ours minus theirs; NaN if they share no seed.

    Raises:
        ValueError: If the numbers of items differ.
    """
    seeds = sorted(ours.keys() & theirs.keys())
    scores = np.array([ours[seed].score - theirs[seed].score for seed in seeds])
    first, second = (_stack([side[seed].items for seed in seeds]) for side in (ours, theirs))
    if first is None or second is None:
        return _estimate(scores, None)
    if first.shape != second.shape:
        raise ValueError(f"items must be of the same queries, but got {first.shape[1]} and {second.shape[1]} of them.")
    return _estimate(scores, first - second)


def bootstrap_error(items: Floats, *, resamples: int = RESAMPLES, seed: int = 0) -> tuple[float, float]:
    """Compute the standard error of the mean of items if both seeds and queries were drawn again.

    All seeds have the same queries, so both are resampled: a resample's deviation is that of the mean over drawn seeds
    plus that of the mean over drawn queries. One fewer of each is drawn than exist (Rao and Wu, 1988): otherwise few
    seeds would look too steady. Interactions of query and seed count twice, which makes intervals rather too wide.

    Args:
        items: Values or their differences, shape ``(seeds, queries)``, at least two queries.
        resamples: Number of resamples.
        seed: Seed of the draws.

    Returns:
        The standard error, and its degrees of freedom by Satterthwaite.
    """
    generator = np.random.default_rng(seed)
    varying = _varying(items)
    deviations = [_resample(items.mean(axis), size - 1, resamples, generator) - items.mean() for axis, size in varying]
    error = float(sum(deviations, np.zeros(resamples)).std())
    parts = [(float(items.mean(axis).var(ddof=1)) / size, size) for axis, size in varying]
    spread = sum(part**2 / (size - 1) for part, size in parts)
    return error, sum(part for part, _ in parts) ** 2 / spread if spread else math.inf


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p values for their number by Holm's method; NaN stays NaN and is not counted.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.0300, 0.0600, 0.0600]
    """
    corrected = [math.nan] * len(p_values)
    order = sorted((i for i, p in enumerate(p_values) if not math.isnan(p)), key=lambda i: p_values[i])
    highest = 0.0
    for place, i in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - place) * p_values[i]))
        corrected[i] = highest
    return corrected


def verdict(difference: Estimate, corrected: float) -> str:
    """Call a difference a win, loss or tie by its corrected p; "–" if there is none."""
    if math.isnan(corrected):
        return "–"
    if corrected >= LEVEL:
        return "tie"
    return "win" if difference.value > 0 else "loss"


def _stack(items: Sequence[Floats | None]) -> Floats | None:
    """Stack the items of several seeds; None if any seed has none."""
    rows = [row for row in items if row is not None]
    if not rows or len(rows) < len(items):
        return None
    if len({len(row) for row in rows}) > 1:
        raise ValueError(f"items must be of the same queries, but seeds have {sorted({len(row) for row in rows})}.")
    return np.stack(rows)


def _estimate(scores: Floats, items: Floats | None) -> Estimate:
    """Estimate a mean of scores, from their items if there are any."""
    if not len(scores):
        return Estimate(math.nan)
    value = float(scores.mean())
    if items is not None:
        items = items[:, np.isfinite(items).all(0)]  # queries without relevant documents have no value
        if items.shape[1] > 1:
            return _interval(value, *bootstrap_error(items))
    if len(scores) > 1:
        return _interval(value, float(scores.std(ddof=1)) / math.sqrt(len(scores)), len(scores) - 1)
    return Estimate(value)


def _interval(value: float, error: float, freedom: float) -> Estimate:
    """Compute Student's interval and two-sided p; neither exists for a constant difference, unless it is 0."""
    if error < _ROUNDING:
        return Estimate(value, value, value, 1.0, 0.0) if abs(value) < _ROUNDING else Estimate(value)
    half = float(stats.t.ppf(1 - LEVEL / 2, freedom)) * error
    return Estimate(value, value - half, value + half, 2 * float(stats.t.sf(abs(value) / error, freedom)), error)


def _varying(items: Floats) -> list[tuple[int, int]]:
    """List the axes to average over, and the size of the axis that varies then."""
    seeds, queries = items.shape
    return [(0, queries), (1, seeds)] if seeds > 1 else [(0, queries)]


def _resample(values: Floats, count: int, resamples: int, generator: np.random.Generator) -> Floats:
    """Compute means of ``count`` values drawn with replacement, shape ``(resamples,)``."""
    step = max(1, _BLOCK // count)
    sizes = [min(step, resamples - start) for start in range(0, resamples, step)]
    return np.concatenate([values[generator.integers(len(values), size=(size, count))].mean(1) for size in sizes])
