"""Objectives of metric learning over a query's list."""

from __future__ import annotations

from dataclasses import dataclass

from st_rankloss.functional import multi_similarity, threshold_margin
from st_rankloss.objectives.base import Configured


@dataclass(frozen=True)
class MultiSimilarity(Configured):
    """`multi_similarity`.

    Args:
        alpha: Sharpness for relevant documents, above 0.
        beta: Sharpness for irrelevant documents, above 0.
        base: Threshold, in units of similarity.
    """

    function = staticmethod(multi_similarity)

    alpha: float = 2.0
    beta: float = 50.0
    base: float = 0.5


@dataclass(frozen=True)
class ThresholdMargin(Configured):
    """`threshold_margin`, TCM: a regulariser; as in the paper, ``AcrossQueries(ThresholdMargin())``.

    Args:
        upper: Relevant documents below are pulled, at least 0, in units of similarity.
        lower: Irrelevant documents above are pushed, at least 0, below ``upper``.
    """

    function = staticmethod(threshold_margin)

    upper: float = 0.9
    lower: float = 0.5
