"""A hierarchical model of differences over tasks: every task has a true difference of its own around a common mean.

The observed difference of task t is normal around its true difference, ``d_t ~ N(theta_t, s_t^2)``, and true
differences are normal around their mean, ``theta_t ~ N(mu, tau^2)``. The prior of mu is flat, that of tau half-Cauchy
(Gelman, 2006).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr

from eval.report.significance import LEVEL, Estimate, Floats

SCALE = 0.05
"""Scale of the half-Cauchy prior of tau: half of its mass is below."""

FEWEST = 3
"""Minimum number of tasks: with fewer, the prior alone decides the spread."""

_GRID = 1_000  # values of tau
_ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class Mixture:
    """A mixture of normal distributions.

    Args:
        weights: Their weights, shape ``(K,)``, with sum 1.
        means: Their means.
        errors: Their standard deviations, above 0.
    """

    weights: Floats
    means: Floats
    errors: Floats

    def cdf(self, x: float) -> float:
        """Return the probability of at most x."""
        return float(self.weights @ ndtr((x - self.means) / self.errors))

    def quantile(self, p: float) -> float:
        """Return the value that is exceeded with probability 1 - p."""
        low, high = (self.means - 40 * self.errors).min(), (self.means + 40 * self.errors).max()
        return float(brentq(lambda x: self.cdf(x) - p, low, high, xtol=1e-9))

    @property
    def estimate(self) -> Estimate:
        """The mean, with the central 95 % interval."""
        return Estimate(float(self.weights @ self.means), self.quantile(LEVEL / 2), self.quantile(1 - LEVEL / 2))


@dataclass(frozen=True, eq=False)
class Hierarchy:
    """Posterior distributions of the model.

    Args:
        mean: Of mu, the mean true difference.
        spread: Median and 95 % interval of tau, the standard deviation of true differences.
        new: Of the true difference of a new task.
        tasks: Of each task's true difference, which shrinks towards the mean.
    """

    mean: Mixture
    spread: Estimate
    new: Mixture
    tasks: Sequence[Mixture]


def fit(differences: Sequence[float], errors: Sequence[float]) -> Hierarchy:
    """Compute the posterior by integrating over tau; all else is normal given tau.

    Args:
        differences: Observed difference of each task.
        errors: Their standard errors, at least 0.

    Returns:
        The posterior distributions.

    Raises:
        ValueError: If there are fewer than `FEWEST` tasks, or a value is not finite.
    """
    observed, known = np.asarray(differences, dtype=float), np.maximum(np.asarray(errors, dtype=float), _ROUNDING)
    if len(observed) < FEWEST or not np.isfinite([observed, known]).all():
        raise ValueError(f"a hierarchical model needs at least {FEWEST} finite differences, got {list(differences)}.")
    places = (np.arange(_GRID) + 0.5) / _GRID
    tau = SCALE * np.tan(math.pi / 2 * places)[:, None]  # quantiles of the prior, which therefore weigh alike
    variances = known**2 + tau**2
    total = (1 / variances).sum(1)
    mu = (observed / variances).sum(1) / total
    fits = -0.5 * (np.log(variances) + (observed - mu[:, None]) ** 2 / variances).sum(1) - 0.5 * np.log(total)
    weights = np.exp(fits - fits.max())
    weights /= weights.sum()
    pull = known**2 / variances  # of the mean on a task
    means = observed + pull * (mu[:, None] - observed)
    deviations = np.sqrt(pull * tau**2 + pull**2 / total[:, None])
    return Hierarchy(
        mean=Mixture(weights, mu, total**-0.5),
        spread=Estimate(*(_weighted_quantile(tau[:, 0], weights, p) for p in (0.5, LEVEL / 2, 1 - LEVEL / 2))),
        new=Mixture(weights, mu, np.sqrt(1 / total + tau[:, 0] ** 2)),
        tasks=[Mixture(weights, *columns) for columns in zip(means.T, deviations.T, strict=True)],
    )


def merge(estimates: Iterable[tuple[str, Estimate]]) -> Mapping[str, tuple[float, float]]:
    """Merge the estimates of each task into one difference and standard error; leave out those without an error.

    Estimates on one task share its queries, and how much their errors agree is unknown. The error of their mean is at
    most the mean of their errors, which is what it gets.

    Example:
        >>> merge([("a", Estimate(0.1, error=0.02)), ("a", Estimate(0.3, error=0.04)), ("b", Estimate(0.2))])
        {'a': (0.2000, 0.0300)}
    """
    found: dict[str, list[tuple[float, float]]] = {}
    for task, estimate in estimates:
        if math.isfinite(estimate.error):
            found.setdefault(task, []).append((estimate.value, estimate.error))
    means = {task: np.mean(pairs, axis=0).tolist() for task, pairs in found.items()}
    return {task: (value, error) for task, (value, error) in means.items()}


def _weighted_quantile(values: Floats, weights: Floats, p: float) -> float:
    """Return a quantile of sorted, weighted values."""
    return float(np.interp(p, np.cumsum(weights) - weights / 2, values))
