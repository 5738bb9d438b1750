"""Rows of small losses first, or only."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from st_rankloss.functional.settings import Share
from st_rankloss.weighting.base import OfLosses
from st_rankloss.weighting.settings import Momentum


@dataclass(eq=False)
class SelfPaced(OfLosses):
    """Train on the rows of smallest loss: a share of them that grows, or falls, while training.

    After each epoch, rows are sorted by the moving average of their losses over epochs, and those above the share weigh
    0. A share that grows to 1 is self-paced learning: easy rows first. One that falls from 1 to a bit less than the
    share of correct labels forgets those of large loss, which are often wrong. Rows without a loss yet weigh 1.

    Args:
        first: The share at the start, in (0, 1].
        last: The share at the end of ``pace``, in (0, 1].
        pace: The share of training in which it moves from first to last, in (0, 1].
        momentum: Weight of earlier epochs in the average of losses, in [0, 1).

    Raises:
        TypeError: If a setting is not a number.
        ValueError: If a setting is out of its range.

    Example:
        >>> weighting = SelfPaced(first=1.0, last=0.5)
        >>> weighting.share(0.25), weighting.share(0.5), weighting.share(0.9)
        (0.75, 0.5, 0.5)

    Source: Kumar et al. (2010), "Self-Paced Learning for Latent Variable Models", for growing shares; Han et al.
    (2018), "Co-teaching", arXiv 1804.06872, for the falling one, there by batch and with two models that choose for
    each other. Losses over epochs are ours.
    """

    first: Share = 1.0
    last: Share = 0.8
    pace: Share = 0.5
    momentum: Momentum = 0.5

    progress = 0.0

    def share(self, progress: float) -> float:
        """Return the share of rows to train on.

        Args:
            progress: The share of training that is done, in [0, 1].

        Returns:
            The share, between ``first`` and ``last``.
        """
        return self.first + (self.last - self.first) * min(1.0, progress / self.pace)

    def at(self, progress: float) -> None:
        """Keep the share of training that is done."""
        self.progress = progress

    def end_epoch(self) -> None:
        """Choose the rows of the next epoch."""
        losses = self.losses.close().average
        known = ~losses.isnan()
        rank = torch.where(known, losses, torch.inf).argsort().argsort()
        kept = self.share(self.progress) * known.sum()
        self.weights = torch.where(known & (rank >= kept), 0.0, 1.0)
