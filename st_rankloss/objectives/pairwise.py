"""Objectives that compare documents in pairs."""

from __future__ import annotations

from st_rankloss.functional.pairwise import (
    cosent,
    lambda_loss,
    mann_whitney,
    margin_mse,
    rank_list,
    rank_net,
    triplet_alignment,
)
from st_rankloss.objectives.base import Configured


class RankNet(Configured):
    """`rank_net`."""

    @rank_net.settings
    def __init__(self) -> None: ...


class MannWhitney(Configured):
    """`mann_whitney`: AUC per query; over all queries, ``AcrossQueries(MannWhitney())``, it is the MW loss."""

    @mann_whitney.settings
    def __init__(self) -> None: ...


class LambdaLoss(Configured):
    """`lambda_loss`, NDCG-Loss2++."""

    @lambda_loss.settings
    def __init__(self) -> None: ...


class RankList(Configured):
    """`rank_list`."""

    @rank_list.settings
    def __init__(self) -> None: ...


class CoSENT(Configured):
    """`cosent`, sentence-transformers' CoSENTLoss. For pairs of texts: ``OverPairs(CoSENT())``."""

    @cosent.settings
    def __init__(self) -> None: ...


class MarginMSE(Configured):
    """`margin_mse`, for a teacher's scores."""

    @margin_mse.settings
    def __init__(self) -> None: ...


class TripletAlignment(Configured):
    """`triplet_alignment`, from RDE."""

    @triplet_alignment.settings
    def __init__(self) -> None: ...
