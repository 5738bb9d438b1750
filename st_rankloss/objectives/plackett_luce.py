"""Likelihoods of an order as objectives."""

from __future__ import annotations

from st_rankloss.functional.plackett_luce import plackett_luce, policy_gradient, pro, rank_n_contrast
from st_rankloss.objectives.base import Configured


class PlackettLuce(Configured):
    """`plackett_luce`, the likelihood of the order of relevance: ListMLE, and PLD."""

    @plackett_luce.settings
    def __init__(self) -> None: ...


class RankNContrast(Configured):
    """`rank_n_contrast`, for regression."""

    @rank_n_contrast.settings
    def __init__(self) -> None: ...


class PRO(Configured):
    """`pro`: softmaxes sharpened by the gap in relevance."""

    @pro.settings
    def __init__(self) -> None: ...


class PolicyGradient(Configured):
    """`policy_gradient`, PG-Rank: 1 - NDCG of orders drawn at random."""

    @policy_gradient.settings
    def __init__(self) -> None: ...
