"""Easy rows first, by a difficulty."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from st_rankloss.functional.settings import Positive, Share
from st_rankloss.weighting.base import OfLosses
from st_rankloss.weighting.settings import Momentum


@dataclass(eq=False)
class Curriculum(OfLosses):
    """Train on the easiest rows first, then on more and more of them, until all take part.

    At the share p of training, the easiest ``first + (1 - first) · (p / pace) ** power`` of the rows weigh 1, the
    others 0. Difficulties are yours, such as those of a teacher or `grade_gaps`, or the losses of the model in
    training, sorted again after each epoch; rows of unknown difficulty count as easy.

    Args:
        difficulty: One number per row of the training data, in its order; None means the moving average of its losses.
        first: Share of rows to start with, in (0, 1].
        pace: Share of training after which all rows take part, in (0, 1].
        power: Above 0; 1 adds rows at a constant rate, less than 1 faster at first.
        momentum: Weight of earlier epochs in the average of losses, in [0, 1).

    Raises:
        TypeError: If a setting is not a number.
        ValueError: If a setting is out of its range; in training, unless there is one difficulty per row.

    Example:
        >>> weighting = Curriculum([3.0, 1.0, 2.0, 0.0], first=0.5, pace=0.5)
        >>> weighting.prepare(4)
        >>> weighting.of(torch.arange(4))
        tensor([0., 1., 0., 1.])
        >>> weighting.at(0.25)
        >>> weighting.of(torch.arange(4))
        tensor([0., 1., 1., 1.])

    Source: Bengio et al. (2009), "Curriculum Learning"; Hacohen & Weinshall (2019), "On The Power of Curriculum
    Learning in Training Deep Networks", arXiv 1904.03626, for difficulties by a teacher or by the model itself;
    MacAvaney et al. (2020), "Training Curricula for Open Domain Answer Re-Ranking", arXiv 2004.14269, for ranking.
    """

    difficulty: Sequence[float] | None = field(default=None, repr=False)
    first: Share = 0.2
    pace: Share = 0.5
    power: Positive = 1.0
    momentum: Momentum = 0.5

    progress = 0.0

    @property
    def learns_from_losses(self) -> bool:  # type: ignore[override]
        """Whether losses are the difficulty."""
        return self.difficulty is None

    def prepare(self, rows: int) -> None:
        """Sort the rows by difficulty.

        Args:
            rows: Number of rows, at least 1.

        Raises:
            ValueError: Unless there is one difficulty per row.
        """
        super().prepare(rows)
        self.progress = 0.0
        if self.difficulty is not None and len(self.difficulty) != rows:
            raise ValueError(
                f"difficulty must have one number for each of the {rows} rows of the training data, got "
                f"{len(self.difficulty)}."
            )
        given = (
            [math.nan] * rows if self.difficulty is None else [math.nan if x is None else x for x in self.difficulty]
        )
        self._sort(torch.tensor(given, dtype=torch.float64))

    def _sort(self, difficulty: Tensor) -> None:
        """Keep the share of rows that are at most as difficult as each, 0 for rows of unknown difficulty."""
        known = ~difficulty.isnan()
        ordered = torch.where(known, difficulty, torch.inf).sort().values
        rank = torch.searchsorted(ordered, torch.nan_to_num(difficulty), right=False)
        self.weights = torch.where(known, (rank + 1) / known.sum().clamp_min(1), 0).float()

    def of(self, rows: Tensor) -> Tensor:
        """Return 1 for rows that take part now, 0 for others."""
        part = self.first + (1 - self.first) * min(1.0, self.progress / self.pace) ** self.power
        weights: Tensor = (super().of(rows) <= part + 1e-6).float()
        return weights

    def at(self, progress: float) -> None:
        """Keep the share of training that is done."""
        self.progress = progress

    def end_epoch(self) -> None:
        """Sort the rows by their losses."""
        if self.learns_from_losses:
            self._sort(self.losses.close().average)


def grade_gaps(grades: Sequence[Sequence[float | None]]) -> list[float]:
    """Return the difficulty of rows of graded documents: the smaller the gap between the best grades, the larger.

    Args:
        grades: The grades of each row; None or NaN where unjudged.

    Returns:
        Minus the difference between the best grade and the next lower one, for `Curriculum`; NaN for a row of fewer
        than two grades.

    Example:
        >>> grade_gaps([[3, 0, 0], [3, 3, 2], [1]])
        [-3.0, -1.0, nan]
    """
    return [_gap(row) for row in grades]


def _gap(row: Sequence[float | None]) -> float:
    known = sorted({float(grade) for grade in row if grade is not None and not math.isnan(grade)}, reverse=True)
    return known[1] - known[0] if len(known) > 1 else math.nan
