"""Objectives that compare documents in pairs."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from st_rankloss._host import cosent
from st_rankloss.functional import lambda_loss, mann_whitney, margin_mse, rank_list, rank_net, triplet_alignment
from st_rankloss.functional.gains import Gain
from st_rankloss.functional.lists import per_list, two_grades, two_kinds
from st_rankloss.objectives.base import Configured


@dataclass(frozen=True)
class RankNet(Configured):
    """`rank_net`.

    Args:
        temperature: Divides the similarities, above 0; or ``"auto"``.
        method: How sums over pairs are computed, see `st_rankloss.kernels`.
    """

    function = staticmethod(rank_net)
    spreads = 1.0
    needs = staticmethod(two_grades)

    temperature: float | str = 0.1
    method: str = "auto"


@dataclass(frozen=True)
class MannWhitney(Configured):
    """`mann_whitney`: AUC, of each query; of all together: ``AcrossQueries(MannWhitney())``, the MW loss.

    Args:
        temperature: Divides the similarities, above 0; or ``"auto"``.
        method: How sums over pairs are computed, see `st_rankloss.kernels`.
    """

    function = staticmethod(mann_whitney)
    spreads = 1.0
    needs = staticmethod(two_kinds)

    temperature: float | str = 0.1
    method: str = "auto"


@dataclass(frozen=True)
class LambdaLoss(Configured):
    """`lambda_loss`, NDCG-Loss2++.

    Args:
        temperature: Divides the similarities, above 0; or ``"auto"``.
        gain: ``"linear"``, ``"exponential"`` (2^y - 1) or a callable.
        mu: Weight of NDCG-Loss2 beside LambdaRank's, at least 0.
        k: Count pairs only with a document among the first k; None counts all.
    """

    function = staticmethod(lambda_loss)
    spreads = 1.0
    needs = staticmethod(two_grades)

    temperature: float | str = 0.1
    gain: Gain = "linear"
    mu: float = 10.0
    k: int | None = None


@dataclass(frozen=True)
class RankList(Configured):
    """`rank_list`.

    Args:
        temperature: Divides the similarities, above 0; or ``"auto"``.
        skip: Weight of the pairs that skip grades, at least 0.
    """

    function = staticmethod(rank_list)
    spreads = 1.0
    needs = staticmethod(two_grades)

    temperature: float | str = 0.1
    skip: float = 1.0


def _cosent(similarity: Tensor, relevance: Tensor, *, scale: float, no_relevant: str) -> Tensor:
    def body(similarity: Tensor, relevance: Tensor, judged: Tensor) -> Tensor:
        return cosent(similarity, relevance, judged, scale)

    return per_list(body, similarity, relevance, two_grades, no_relevant)


@dataclass(frozen=True)
class CoSENT(Configured):
    """sentence-transformers' CoSENTLoss: log-sum-exp over all pairs in the wrong order, time O(D log D).

    Meant for pairs of texts, ``OverPairs(CoSENT())``; of lists, each query is a call of its own. AnglE is this
    objective with ``similarity_fct=angle_sim``.

    Args:
        scale: Multiplies the similarities, above 0.
    """

    function = staticmethod(_cosent)
    needs = staticmethod(two_grades)

    scale: float = 20.0


def _two_judged(relevance: Tensor, judged: Tensor) -> Tensor:
    return judged.sum(-1) > 1


@dataclass(frozen=True)
class MarginMSE(Configured):
    """`margin_mse`, for a teacher's scores.

    Args:
        scale: What similarities are multiplied by to be in units of relevance, above 0.
    """

    function = staticmethod(margin_mse)
    needs = staticmethod(_two_judged)

    scale: float = 1.0


@dataclass(frozen=True)
class TripletAlignment(Configured):
    """`triplet_alignment`, RDE's.

    Args:
        temperature: Softness of the hardest negative, above 0, in units of similarity.
        margin: At least 0, in units of similarity.
    """

    function = staticmethod(triplet_alignment)
    needs = staticmethod(two_kinds)

    temperature: float = 0.015
    margin: float = 0.1
