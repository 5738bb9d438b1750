"""Objectives that are likelihoods of a list, or of an order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from st_rankloss.functional import (
    info_nce,
    list_divergence,
    pairwise_softmax,
    plackett_luce,
    policy_gradient,
    preference_ranking,
    rank_n_contrast,
    regression_compatible,
    softmax_at_k,
    softmax_cross_entropy,
)
from st_rankloss.functional.gains import Gain
from st_rankloss.functional.lists import relevant_among_others, two_grades, two_kinds
from st_rankloss.objectives.base import Configured


@dataclass(frozen=True)
class _Tempered(Configured):
    """What divides similarities by a temperature, and has no further setting."""

    spreads = 1.0

    temperature: float | str = 0.05


@dataclass(frozen=True)
class SoftmaxCrossEntropy(Configured):
    """Cross-entropy between the softmax of similarities and the normalised gains, `softmax_cross_entropy`.

    Documents that are all equally relevant are a list to learn from: their likelihood is highest where their
    similarities are equal. A single document is not.

    With one relevant document a query it is sentence-transformers' MultipleNegativesRankingLoss; with the soft
    similarities of a frozen encoder as relevance, `Vectors()`, it is CWCL.

    Args:
        temperature: Divides the similarities, above 0: 1 / scale in sentence-transformers' terms; or ``"auto"``.
        gain: ``"linear"``, ``"exponential"`` (2^y - 1) or a callable.
        poly: Weight of the first term of PolyLoss, at least 0.

    Raises:
        ValueError: If ``temperature`` is not above 0 or ``gain`` is unknown.

    Example:
        >>> import torch
        >>> similarity = torch.tensor([[0.9, 0.2, 0.7]])
        >>> SoftmaxCrossEntropy(temperature=0.1)(similarity, torch.tensor([[1.0, 0.0, 0.5]]))
        tensor([0.7944])

    Source: Cao et al. (2007), ListNet; Zhuang et al. (2023), RankT5.
    """

    function = staticmethod(softmax_cross_entropy)
    spreads = 1.0
    needs = staticmethod(relevant_among_others)

    temperature: float | str = 0.05
    gain: Gain = "linear"
    poly: float = 0.0


class SupCon(_Tempered):
    """`info_nce` in which positives compete with each other.

    Positives alone are a list to learn from: the likelihood of each is highest where their similarities are equal.

    Settings: ``temperature`` as of `SoftmaxCrossEntropy`.
    """

    function = staticmethod(info_nce)
    fixed: ClassVar[dict[str, Any]] = {"positives": "all"}
    needs = staticmethod(relevant_among_others)


class InfoNCE(_Tempered):
    """`info_nce` in which each positive competes with the irrelevant documents only.

    Settings: ``temperature`` as of `SoftmaxCrossEntropy`.
    """

    function = staticmethod(info_nce)
    fixed: ClassVar[dict[str, Any]] = {"positives": "own"}
    needs = staticmethod(two_kinds)


class DCL(_Tempered):
    """`info_nce` without the positive in its own denominator: decoupled.

    Settings: ``temperature`` as of `SoftmaxCrossEntropy`.
    """

    function = staticmethod(info_nce)
    fixed: ClassVar[dict[str, Any]] = {"positives": "none"}
    needs = staticmethod(two_kinds)


@dataclass(frozen=True)
class ListNet(Configured):
    """`list_divergence` from the softmax of the grades.

    Args:
        temperature: Divides the similarities, above 0; or ``"auto"``.
        label_temperature: Divides the grades, above 0, in units of relevance.
    """

    function = staticmethod(list_divergence)
    spreads = 1.0
    needs = staticmethod(two_grades)

    temperature: float | str = 0.05
    label_temperature: float = 1.0


@dataclass(frozen=True)
class RankKL(Configured):
    """`list_divergence` from the softmax of the grades' ranks, which run from 0 to 1; CoDiEmb's, for STS.

    Args:
        temperature: Divides the similarities, above 0; or ``"auto"``.
        label_temperature: Divides the ranks, above 0.
    """

    function = staticmethod(list_divergence)
    fixed: ClassVar[dict[str, Any]] = {"by_rank": True}
    spreads = 1.0
    needs = staticmethod(two_grades)

    temperature: float | str = 0.05
    label_temperature: float = 0.05


@dataclass(frozen=True)
class PlackettLuce(Configured):
    """`plackett_luce`: the likelihood of the order of relevance; ListMLE, and PLD.

    Args:
        temperature: Divides the similarities, above 0; or ``"auto"``.
        positions: ``"equal"``, ``"ndcg"`` or ``"confidence"``, see `plackett_luce`.
        label_temperature: Divides the grades in the confidence, above 0.
    """

    function = staticmethod(plackett_luce)
    spreads = 1.0
    needs = staticmethod(two_grades)

    temperature: float | str = 0.05
    positions: str = "equal"
    label_temperature: float = 1.0


class PRO(_Tempered):
    """`preference_ranking`: softmaxes sharpened by the gap in relevance.

    Settings: ``temperature`` as of `SoftmaxCrossEntropy`.
    """

    function = staticmethod(preference_ranking)
    needs = staticmethod(two_grades)


@dataclass(frozen=True)
class RankNContrast(Configured):
    """`rank_n_contrast`, for regression.

    Args:
        temperature: Divides the similarities, above 0; or ``"auto"``.
    """

    function = staticmethod(rank_n_contrast)
    spreads = 1.0
    needs = staticmethod(two_grades)

    temperature: float | str = 0.1


@dataclass(frozen=True)
class RegressionCompatible(Configured):
    """`regression_compatible`, calibrated; relevance in [0, 1].

    Args:
        temperature: Divides the similarities, above 0.
        bias: Added after the division.
        alpha: Weight of the list term, in (0, 1].
    """

    function = staticmethod(regression_compatible)

    temperature: float = 0.1
    bias: float = 0.0
    alpha: float = 0.5


@dataclass(frozen=True)
class PSL(Configured):
    """`pairwise_softmax`.

    Args:
        temperature: Its inverse is the exponent, above 0.
        activation: ``"tanh"``, ``"relu"`` or ``"atan"``.
        width: What differences are divided by so as to lie in [-1, 1].
    """

    function = staticmethod(pairwise_softmax)
    needs = staticmethod(two_kinds)

    temperature: float = 0.1
    activation: str = "tanh"
    width: float = 2.0


@dataclass(frozen=True)
class SoftmaxAtK(Configured):
    """`softmax_at_k`, SL@K.

    Args:
        k: Cutoff, at least 1.
        temperature: Divides the similarities, above 0.
        weight_temperature: Width of the weights, above 0, in units of similarity.
    """

    function = staticmethod(softmax_at_k)
    needs = staticmethod(two_kinds)

    k: int = 10
    temperature: float = 0.05
    weight_temperature: float = 0.1


@dataclass(frozen=True)
class PolicyGradient(Configured):
    """`policy_gradient`, PG-Rank: 1 - NDCG of orders drawn at random.

    Args:
        temperature: Divides the similarities, above 0; or ``"auto"``.
        gain: ``"linear"``, ``"exponential"`` (2^y - 1) or a callable.
        k: Cutoff; None means no cutoff.
        samples: Orders drawn for each query, at least 2.
    """

    function = staticmethod(policy_gradient)
    spreads = 1.0
    needs = staticmethod(two_grades)

    temperature: float | str = 0.05
    gain: Gain = "linear"
    k: int | None = None
    samples: int = 8
