"""Objectives for the order that a teacher gives."""

from __future__ import annotations

from st_rankloss.functional.distillation import inverse_rank_net, partial_ranking
from st_rankloss.objectives.base import Configured


class InverseRankNet(Configured):
    """`inverse_rank_net`, from FIRST."""

    @inverse_rank_net.settings
    def __init__(self) -> None: ...


class PartialRanking(Configured):
    """`partial_ranking`, after CPRD: for positives of relevance 1 and negatives with a teacher's scores below 1."""

    @partial_ranking.settings
    def __init__(self) -> None: ...
