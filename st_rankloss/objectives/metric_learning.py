"""Metric-learning objectives over a query's list."""

from __future__ import annotations

from st_rankloss.functional.metric_learning import multi_similarity, threshold_margin
from st_rankloss.objectives.base import Configured


class MultiSimilarity(Configured):
    """`multi_similarity`."""

    @multi_similarity.settings
    def __init__(self) -> None: ...


class ThresholdMargin(Configured):
    """`threshold_margin`, TCM: a regulariser; the paper's form is ``AcrossQueries(ThresholdMargin())``."""

    @threshold_margin.settings
    def __init__(self) -> None: ...
