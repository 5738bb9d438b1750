"""Mixtures of two relevant documents (SiMix)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from st_rankloss.functional.settings import Count, check_fields
from st_rankloss.losses.mixing.own import Mixtures, OwnMixing, Ranked, where_found
from st_rankloss.losses.mixing.parents import pick_two


@dataclass(frozen=True)
class PositiveMixup(OwnMixing):
    """Adds mixtures of two of each query's relevant documents, graded by the mixture of their grades.

    A mixture is w · a + (1 - w) · b, normalised for the cosine, with w drawn uniformly from (0, 1). A query with one
    relevant document gets none. Gradients reach both parents. Cost: O(Q · count · dimensions).

    Args:
        count: Mixtures per query, at least 1.

    Raises:
        ValueError: If ``count`` is out of its range; in `RankingLoss`, if ``similarity_fct`` is neither the cosine nor
            the dot product.

    Example:
        >>> PositiveMixup(count=8)
        PositiveMixup(count=8)

    Source: the virtual positives of SiMix: Patel, Tolias, Matas (2022), "Recall@k Surrogate Loss with Large Batches and
    Similarity Mixup", arXiv 2108.11179, which mixes the similarities of every pair of samples of a class, that is, does
    not normalise, also of the classes that are irrelevant for the query. For those add `HardNegativeMixup`.
    """

    count: Count = 4

    def __post_init__(self) -> None:
        check_fields(self)

    def choose(self, ranked: Ranked, draws: Tensor) -> Mixtures:
        """Choose two relevant documents per mixture."""
        relevant = ranked.relevance > 0
        relevant = relevant & (relevant.sum(1, keepdim=True) > 1)
        *places, share = draws.unbind(-1)
        first, second = pick_two(relevant, *places)
        one, other = (ranked.relevance.gather(1, parent) for parent in (first, second))
        return Mixtures(first, second, share, where_found(relevant, torch.lerp(other, one, share)))
