"""A division of rows by a mixture of two normal distributions of losses: of correct labels, and of wrong ones."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from st_rankloss.functional.settings import Count
from st_rankloss.weighting.base import OfLosses
from st_rankloss.weighting.settings import Fraction, Momentum

_STEPS = 100
_LEAST_VARIANCE = 5e-4
"""Of losses scaled to [0, 1]."""


@dataclass(eq=False)
class LossMixture(OfLosses):
    """Leave out rows whose losses are likely to be from the upper of two normal distributions.

    After each epoch, a mixture of two is fitted to the moving averages of all rows' losses. Wrong labels have large
    losses before a model has learned them by heart, so that they fall into the upper one; if their probability of the
    lower one is below ``least``, they weigh 0 in the next epoch. The mixture always finds two parts, and leaves out
    hard rows where all labels are correct: prefer `NeighbourAgreement` for classes. A row without a loss yet weighs 1.

    Args:
        least: The least probability of the lower distribution, in [0, 1].
        warmup: Epochs before the first fit, at least 1, in which all rows weigh 1.
        momentum: Weight of earlier epochs in the average of losses, in [0, 1).

    Raises:
        TypeError: If a setting has the wrong type.
        ValueError: If a setting is out of its range.

    Example:
        ::

            loss = RankingLoss(model, relevance=relevance.Classes(), weighting=LossMixture())
            RankingTrainer(model=model, train_dataset=dataset, loss=loss).train()

    Source: Li et al. (2020), "DivideMix", arXiv 2002.07394, for the mixture over losses; Qin et al. (2023),
    "Noisy-Correspondence Learning for Text-to-Image Person Re-identification" (RDE), arXiv 2308.09911, for the losses
    of a retriever. Both divide with two models, and also train on the upper part, without its labels; we leave it out.
    """

    least: Fraction = 0.5
    warmup: Count = 1
    momentum: Momentum = 0.5

    def prepare(self, rows: int) -> None:
        """Start without any losses."""
        super().prepare(rows)
        self.epochs = torch.zeros(())

    def end_epoch(self) -> None:
        """Fit the mixture, and weigh each row."""
        losses = self.losses.close().average
        self.epochs += 1
        if self.epochs >= self.warmup:
            self.weights = torch.where(lower_part(losses) < self.least, 0.0, 1.0)

    def state(self) -> dict[str, Tensor]:
        """Return weights, losses and the number of epochs."""
        return {**super().state(), "epochs": self.epochs}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take over what `state` returned."""
        super().restore(state)
        self.epochs = state["epochs"]


def lower_part(values: Tensor) -> Tensor:
    """Return the probability that each value is from the lower of two normal distributions, fitted to all.

    Args:
        values: NaN where unknown, ``(N,)``.

    Returns:
        Probabilities, ``(N,)``, never lower for a lower value; 1 if all values are alike, NaN where unknown.

    Example:
        >>> lower_part(torch.tensor([0.1, 0.2, 0.15, 0.9, 0.95, 1.0, torch.nan])).round(decimals=2)
        tensor([1., 1., 1., 0., 0., 0., nan])
    """
    known = ~values.isnan()
    least = torch.where(known, values, torch.inf).amin()
    most = torch.where(known, values, -torch.inf).amax()
    spread = most - least
    x = torch.where(known, (values - least) / spread.clamp_min(1e-12), 0).double()
    weight = known.double()
    mean = (x * weight).sum() / weight.sum()
    share = torch.stack([x < mean, x >= mean]).double()  # of each part in each value, (2, N)
    parts = fit(x, weight, share)
    found = parts.shares(x)[parts.means.argmin()]
    # Where one part is wider, it is also the likelier one beyond the other; a value below a likely one is as likely.
    order = torch.where(known, x, torch.inf).argsort()
    falling = found[order].flip(0).cummax(0).values.flip(0)
    found = found.scatter(0, order, falling)
    return torch.where(known, torch.where(spread > 0, found, 1), torch.nan).to(values.dtype)


@dataclass(frozen=True)
class Normals:
    """A mixture of two normal distributions.

    Attributes:
        priors: Their shares, ``(2,)``.
        means: Their means, ``(2,)``.
        variances: Their variances, ``(2,)``.
    """

    priors: Tensor
    means: Tensor
    variances: Tensor

    def shares(self, x: Tensor) -> Tensor:
        """Return the probability of each part for each value, ``(2, N)``."""
        deviation = (x - self.means[:, None]).square() / self.variances[:, None]
        return (self.priors.log()[:, None] - (deviation + self.variances.log()[:, None]) / 2).softmax(0)


def fit(x: Tensor, weight: Tensor, share: Tensor, steps: int = _STEPS) -> Normals:
    """Fit two normal distributions by expectation maximisation.

    Args:
        x: The values, ``(N,)``.
        weight: The weight of each, ``(N,)``.
        share: The share of each part in each value to start with, ``(2, N)``.
        steps: Number of steps, at least 1.

    Returns:
        The mixture.
    """
    for _ in range(steps):
        counts = (share * weight).sum(1).clamp_min(1e-10)
        means = (share * weight * x).sum(1) / counts
        variances = (share * weight * (x - means[:, None]).square()).sum(1) / counts + _LEAST_VARIANCE
        parts = Normals(counts / counts.sum(), means, variances)
        share = parts.shares(x)
    return parts
