"""Mixtures ordered by how much of a relevant document they keep (RankMixup, Metrix)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from st_rankloss.functional.lists import irrelevant_of
from st_rankloss.functional.settings import Count, Cutoff, Positive, check_fields, choice
from st_rankloss.losses.mixing.base import beta
from st_rankloss.losses.mixing.own import Mixtures, OwnMixing, Ranked, where_found
from st_rankloss.losses.mixing.parents import hardest_of, pick


@dataclass(frozen=True)
class RankMixup(OwnMixing):
    """Adds mixtures of each query's relevant and irrelevant documents, graded by their share of the relevant one.

    A mixture is w · a + (1 - w) · b, normalised for the cosine, with w drawn from Beta(alpha, alpha), a drawn from the
    documents above relevance 0 and b from those with relevance 0; its relevance is w times that of a. Binary labels so
    define an order. Gradients reach both parents. Cost: O(Q · count · dimensions).

    Args:
        count: Mixtures per query, at least 1.
        alpha: Above 0; small values keep mixtures near one of their parents, 1 draws the share uniformly.
        hardest: How many of the most similar irrelevant documents may be parents, at least 1; None means all.
        parent: What is mixed with an irrelevant document: ``"document"``, a relevant one, or ``"query"``, the query
            itself, whose relevance is the largest among its documents.

    Raises:
        TypeError: If ``alpha`` is not a number.
        ValueError: If a setting is out of its range; in `RankingLoss`, if ``similarity_fct`` is neither the cosine nor
            the dot product.

    Example:
        >>> RankMixup(alpha=2.0, hardest=3)  # the pairs of Metrix
        RankMixup(count=4, alpha=2.0, hardest=3, parent='document')

    Source: Noh et al. (2023), "RankMixup: Ranking-Based Mixup Training for Network Calibration", ICCV, whose code
    orders the confidences of an image's mixtures by their coefficient, and does so by nDCG among others; for embeddings
    and any objective it is ours. With ``hardest`` these are the mixtures of positive and negative (``parent="query"``:
    anchor and negative) of Metrix: Venkataramanan et al. (2022), "It Takes Two to Tango: Mixup for Deep Metric
    Learning", arXiv 2106.04990.
    """

    count: Count = 4
    alpha: Positive = 1.0
    hardest: Cutoff = None
    parent: Annotated[str, choice("document", "query")] = "document"

    def __post_init__(self) -> None:
        check_fields(self)

    def draw(self, queries: Tensor) -> Tensor:
        """Draw both parents and their shares."""
        draws = super().draw(queries)
        draws[..., 2] = beta(draws.shape[:2], queries, self.alpha, self.alpha)
        return draws

    def choose(self, ranked: Ranked, draws: Tensor) -> Mixtures:
        """Choose a relevant and an irrelevant document per mixture."""
        relevant = ranked.relevance > 0
        irrelevant = hardest_of(irrelevant_of(ranked.relevance), ranked.similarity, self.hardest)
        one, other, share = draws.unbind(-1)
        if self.parent == "query":
            first, grades = None, torch.where(relevant, ranked.relevance, 0).amax(1, keepdim=True)
        else:
            first = pick(relevant, one)
            grades = ranked.relevance.gather(1, first)
        graded = where_found(irrelevant, where_found(relevant, share * grades))
        return Mixtures(first, pick(irrelevant, other), share, graded)
