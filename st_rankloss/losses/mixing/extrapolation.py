"""Harder positives: relevant documents moved away from their query (Feature Transformation)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from st_rankloss.functional.settings import Count, Positive, check_fields
from st_rankloss.losses.mixing.base import beta
from st_rankloss.losses.mixing.own import Mixtures, OwnMixing, Ranked, where_found
from st_rankloss.losses.mixing.parents import pick


@dataclass(frozen=True)
class ExtrapolatedPositives(OwnMixing):
    """Adds relevant documents moved away from their query, with the same relevance.

    A moved document is (1 + w) · a - w · query, normalised for the cosine, with w drawn from Beta(alpha, alpha), and
    a drawn from the documents above relevance 0: it is never more similar to the query than a is. Gradients reach query
    and document. Cost: O(Q · count · dimensions).

    Args:
        count: Moved documents per query, at least 1.
        alpha: Above 0; small values draw w near 0 or 1, 1 draws it uniformly.

    Raises:
        TypeError: If ``alpha`` is not a number.
        ValueError: If a setting is out of its range; in `RankingLoss`, if ``similarity_fct`` is neither the cosine nor
            the dot product.

    Example:
        >>> ExtrapolatedPositives()
        ExtrapolatedPositives(count=4, alpha=2.0)

    Source: the extrapolated positives of Zhu et al. (2021), "Improving Contrastive Learning by Visualizing Feature
    Transformation", ICCV, arXiv 2108.02982, which moves query and positive apart, in place of the original pair and
    without normalising. Moving the document only, which then is one more document to rank, is ours. Its interpolated
    negatives are ``HardNegativeMixup(hardest=None)``.
    """

    count: Count = 4
    alpha: Positive = 2.0

    def __post_init__(self) -> None:
        check_fields(self)

    def draw(self, queries: Tensor) -> Tensor:
        """Draw documents and how far to move them."""
        draws = super().draw(queries)
        draws[..., 2] = beta(draws.shape[:2], queries, self.alpha, self.alpha)
        return draws

    def choose(self, ranked: Ranked, draws: Tensor) -> Mixtures:
        """Choose a relevant document per mixture."""
        relevant = ranked.relevance > 0
        one, _, step = draws.unbind(-1)
        first = pick(relevant, one)
        return Mixtures(first, None, 1 + step, where_found(relevant, ranked.relevance.gather(1, first)))
