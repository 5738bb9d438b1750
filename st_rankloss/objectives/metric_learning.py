"""Metric-learning objectives."""

from __future__ import annotations

from st_rankloss.functional.metric_learning import circle, multi_similarity, quadruplet, threshold_margin
from st_rankloss.objectives.base import Configured


class MultiSimilarity(Configured):
    """`multi_similarity`."""

    @multi_similarity.settings
    def __init__(self) -> None: ...


class Circle(Configured):
    """`circle`."""

    @circle.settings
    def __init__(self) -> None: ...


class ThresholdMargin(Configured):
    """`threshold_margin`, TCM: a regulariser; the paper's form is ``AcrossQueries(ThresholdMargin())``."""

    @threshold_margin.settings
    def __init__(self) -> None: ...


class Quadruplet(Configured):
    """`quadruplet`, over all quadruplets of a batch."""

    @quadruplet.settings
    def __init__(self) -> None: ...
