"""Mixed queries: each ranks the documents by the mixture of two queries' relevances."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from st_rankloss.functional.settings import Positive, Share, check_fields
from st_rankloss.losses.mixing.base import Mixing, Sides, beta, place_of, uniform
from st_rankloss.relevance.matrix import MixedRows


@dataclass(frozen=True)
class QueryMixup(Mixing):
    """Replaces queries by their mixtures with another query, which rank documents by the mixed relevance.

    A mixed query is w · q + (1 - w) · p for another query p of the process, drawn at random, and w drawn from
    Beta(alpha, alpha); so are its weight and the relevance of each document, which is unjudged if it is for q or p.
    Cost: computing relevance twice. With ``symmetric=True``, documents that rank queries are mixed likewise.

    Args:
        share: Probability that a query is replaced, in (0, 1].
        alpha: Above 0; small values keep mixtures near one of their parents, 1 draws the weight uniformly.

    Raises:
        TypeError: If a setting is not a number.
        ValueError: If a setting is out of its range; in training, if it comes after a strategy that adds mixtures for
            each query, or documents have weights.

    Example:
        >>> QueryMixup(share=0.5)
        QueryMixup(share=0.5, alpha=1.0)

    Source: Lee et al. (2021), "i-Mix: A Domain-Agnostic Strategy for Contrastive Representation Learning", arXiv
    2010.08887, which mixes inputs and labels of the instances; mixing embeddings and graded relevance is ours.
    """

    of_queries: ClassVar[bool] = True

    share: Share = 0.5
    alpha: Positive = 1.0

    def __post_init__(self) -> None:
        check_fields(self)

    def __call__(self, sides: Sides) -> Sides:
        """Replace queries."""
        if sides.own:
            raise ValueError("QueryMixup must come before the strategies that add mixtures for each query.")
        if sides.weights_of is not None:
            raise ValueError("QueryMixup takes no weights of documents: leave one of them out.")
        queries = sides.queries
        count = len(queries)
        mixed, draws = uniform((2, count), queries)
        own = torch.arange(count, device=queries.device)
        steps = 1 + place_of(draws, max(count - 1, 1))
        partners = torch.where(mixed < self.share, (own + steps) % count, own)  # its own partner stays as it is
        share = beta((count,), queries, self.alpha, self.alpha)
        weights = sides.weights
        return sides._replace(
            queries=torch.lerp(queries[partners], queries, share[:, None]),
            relevance_of=MixedRows(sides.relevance_of, partners, share),
            weights=None if weights is None else torch.lerp(weights[partners], weights, share.to(weights.dtype)),
        )
