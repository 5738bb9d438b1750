"""Harder negatives: mixtures of two hard negatives, and of a query and a hard negative (MoCHi)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from st_rankloss.functional.lists import irrelevant_of
from st_rankloss.functional.settings import Count, Cutoff, Share, check_fields
from st_rankloss.losses.mixing.own import Mixtures, OwnMixing, Ranked, where_found
from st_rankloss.losses.mixing.parents import hardest_of, pick, pick_two


@dataclass(frozen=True)
class HardNegativeMixup(OwnMixing):
    """Adds mixtures of two of each query's hardest negatives, with relevance 0.

    A mixture is w · a + (1 - w) · b, normalised for the cosine, with w drawn uniformly from (0, 1); a and b are drawn
    from the most similar documents with relevance 0. A normalised mixture may be harder than both parents. Mixtures are
    constants: only the query gets their gradient. MoCHi is ``mixup=(HardNegativeMixup(), QueryNegativeMixup())``. Cost:
    O(Q · count · dimensions).

    Args:
        count: Mixtures per query, at least 1.
        hardest: How many of the most similar negatives may be parents, at least 1; None means all.

    Raises:
        ValueError: If a setting is out of its range; in `RankingLoss`, if ``similarity_fct`` is neither the cosine nor
            the dot product.

    Example:
        >>> HardNegativeMixup(count=64, hardest=128)
        HardNegativeMixup(count=64, hardest=128)

    Source: Kalantidis et al. (2020), "Hard Negative Mixing for Contrastive Learning" (MoCHi), arXiv 2010.01028, whose
    queue of negatives is the batch here; online and normalised in KaLM-Embedding-V2 (2025), arXiv 2506.20923. Two
    different parents are ours.
    """

    detached: ClassVar[bool] = True
    of_irrelevant: ClassVar[bool] = True
    count: Count = 16
    hardest: Cutoff = 32

    def __post_init__(self) -> None:
        check_fields(self)

    def choose(self, ranked: Ranked, draws: Tensor) -> Mixtures:
        """Choose two hard negatives per mixture."""
        pool = hardest_of(irrelevant_of(ranked.relevance), ranked.similarity, self.hardest)
        first, second, share = draws.unbind(-1)
        parents = pick_two(pool, first, second)
        return Mixtures(*parents, share, where_found(pool, share.new_zeros(share.shape)))


@dataclass(frozen=True)
class QueryNegativeMixup(OwnMixing):
    """Adds mixtures of each query and one of its hardest negatives, with relevance 0: the hardest of all.

    A mixture is w · query + (1 - w) · a, normalised for the cosine, with w drawn uniformly from (0, ``most``), and a
    drawn from the most similar documents with relevance 0. Mixtures are constants: only the query as it ranks them
    gets their gradient. Cost: O(Q · count · dimensions).

    Args:
        count: Mixtures per query, at least 1.
        hardest: How many of the most similar negatives may be parents, at least 1; None means all.
        most: The largest share of the query, in (0, 1]; up to 0.5 the negative prevails.

    Raises:
        TypeError: If ``most`` is not a number.
        ValueError: If a setting is out of its range; in `RankingLoss`, if ``similarity_fct`` is neither the cosine nor
            the dot product.

    Example:
        >>> QueryNegativeMixup(count=8)
        QueryNegativeMixup(count=8, hardest=32, most=0.5)

    Source: Kalantidis et al. (2020), arXiv 2010.01028. For mixtures with graded relevance see `RankMixup`.
    """

    detached: ClassVar[bool] = True
    of_irrelevant: ClassVar[bool] = True
    count: Count = 16
    hardest: Cutoff = 32
    most: Share = 0.5

    def __post_init__(self) -> None:
        check_fields(self)

    def choose(self, ranked: Ranked, draws: Tensor) -> Mixtures:
        """Choose a hard negative per mixture."""
        pool = hardest_of(irrelevant_of(ranked.relevance), ranked.similarity, self.hardest)
        parent, _, share = draws.unbind(-1)
        relevance = where_found(pool, share.new_zeros(share.shape))
        return Mixtures(None, pick(pool, parent), self.most * share, relevance)
