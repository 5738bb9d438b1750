"""Mixtures of each query's own, such as of its hardest negatives: made, compared and freed with its block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from st_rankloss._host import cos_sim, dot_score
from st_rankloss.losses.mixing.base import Mixing, Sides, mix_weights, uniform
from st_rankloss.relevance.matrix import RowsOfRelevance

if TYPE_CHECKING:
    from st_rankloss.losses.comparisons import Block, Product


class Ranked(NamedTuple):
    """What the queries of a block rank, from which their mixtures are made."""

    queries: Tensor
    """Shape ``(Q, dimensions)``."""
    documents: Tensor
    """Shape ``(D, dimensions)``."""
    similarity: Tensor
    """Shape ``(Q, D)``, without gradient."""
    relevance: Tensor
    """Shape ``(Q, D)``; NaN where unjudged."""
    weights: Tensor | None
    """Shape ``(Q, D)``; None weights all documents alike."""
    rows: slice
    """The place of the block among this process's queries."""
    relevance_of: RowsOfRelevance
    """The relevance as the strategy found it."""


class Mixtures(NamedTuple):
    """Mixtures of each query: ``share`` of the first parent, the rest of the second."""

    first: Tensor | None
    """Indices of documents, ``(Q, n)``; None is the query itself."""
    second: Tensor | None
    """The same."""
    share: Tensor
    """Shape ``(Q, n)``; below 0 or above 1 extrapolates."""
    relevance: Tensor
    """Shape ``(Q, n)``; NaN where there are no parents."""

    def embeddings(self, queries: Tensor, documents: Tensor) -> Tensor:
        """Mix the parents: ``(Q, n, dimensions)``."""
        first, second = (queries[:, None] if i is None else documents[i] for i in (self.first, self.second))
        return torch.lerp(second, first, self.share[..., None])

    def weights(self, weights: Tensor) -> Tensor:
        """Mix the parents' weights, ``(Q, D)``, to those of mixtures, ``(Q, n)``; the query has none of its own."""
        known = [weights.gather(1, i) for i in (self.first, self.second) if i is not None]
        return mix_weights(known[0], known[-1], self.share)


class OwnMixing(Mixing):
    """A strategy that adds mixtures for each query.

    Subclasses implement `choose`. Numbers are drawn once for all blocks, so that the size of blocks does not matter.
    """

    similarities: ClassVar[tuple[Any, ...]] = (cos_sim, dot_score)
    detached: ClassVar[bool] = False
    """Whether mixtures are constants, which send no gradient to their parents."""
    count: int
    """Mixtures per query."""

    def draw(self, queries: Tensor) -> Tensor:
        """Draw three numbers in [0, 1) per mixture, to choose its parents and their shares: ``(Q, count, 3)``."""
        return uniform((len(queries), self.count, 3), queries)

    def choose(self, ranked: Ranked, draws: Tensor) -> Mixtures:
        """Choose the parents of the mixtures of a block's queries, by their draws ``(Q, count, 3)``."""
        raise TypeError(f"{type(self).__name__} must define choose(ranked, draws).")

    def __call__(self, sides: Sides) -> Sides:
        """Add this strategy to those that each block applies."""
        return sides._replace(own=(*sides.own, Drawn(self, self.draw(sides.queries), sides.relevance_of)))


class Drawn(NamedTuple):
    """A strategy, its draws for all queries, and the relevance as it found it."""

    mixing: OwnMixing
    draws: Tensor
    relevance_of: RowsOfRelevance

    def choose(self, ranked: Ranked) -> Mixtures:
        """Choose the parents of a block's mixtures."""
        return self.mixing.choose(ranked._replace(relevance_of=self.relevance_of), self.draws[ranked.rows])


def where_found(pool: Tensor, relevance: Tensor) -> Tensor:
    """Return the relevance of mixtures, or NaN for queries with an empty pool."""
    return torch.where(pool.any(1, keepdim=True), relevance, torch.nan)


def rank_own(
    block: Block, ranked: Ranked, own: tuple[Drawn, ...], comparison: Product, *, with_grad: bool
) -> tuple[Block, Tensor, Tensor | None]:
    """Add the mixtures of a block's queries to what they rank.

    Args:
        block: The similarities of the queries and documents.
        ranked: The queries and documents.
        own: The strategies.
        comparison: What compares them.
        with_grad: Whether to compute a gradient.

    Returns:
        Similarities, relevance and weights with those of the mixtures, ``(Q, D + mixtures)``.
    """
    mixtures = [drawn.choose(ranked) for drawn in own]
    constant = [drawn.mixing.detached for drawn in own]
    relevance = torch.cat([ranked.relevance, *(each.relevance for each in mixtures)], 1)
    weights = ranked.weights
    if weights is not None:
        weights = torch.cat([weights, *(each.weights(weights) for each in mixtures)], 1)
    mixed = _MixedBlock(block, _OwnBlock(ranked, mixtures, constant, comparison, with_grad), with_grad)
    return mixed, relevance, weights


class _OwnBlock:
    """The similarities of queries to their own mixtures, differentiated by their graph."""

    def __init__(
        self,
        ranked: Ranked,
        mixtures: list[Mixtures],
        constant: list[bool],
        comparison: Product,
        with_grad: bool,
    ) -> None:
        with torch.set_grad_enabled(with_grad):
            self.rows, self.columns = (x.detach().requires_grad_(with_grad) for x in (ranked.queries, ranked.documents))
            made = [each.embeddings(self.rows, self.columns) for each in mixtures]
            made = [each.detach() if fixed else each for each, fixed in zip(made, constant, strict=True)]
            self.similarity = comparison.own(self.rows, torch.cat(made, 1))

    def send_back(self, gradient: Tensor, of_rows: Tensor, of_columns: Tensor, *, last: bool) -> None:
        parents = torch.autograd.grad(
            self.similarity, (self.rows, self.columns), gradient, retain_graph=not last, allow_unused=True
        )
        for into, own in zip((of_rows, of_columns), parents, strict=True):
            if own is not None:
                into.add_(own)


class _MixedBlock:
    def __init__(self, block: Block, own: _OwnBlock, with_grad: bool) -> None:
        self.block, self.own = block, own
        both = [block.similarity.detach(), own.similarity.detach()]
        self.similarity = torch.cat(both, 1).requires_grad_(with_grad)

    def send_back(self, gradient: Tensor, of_rows: Tensor, of_columns: Tensor, *, last: bool) -> None:
        documents, mixtures = gradient.split([self.block.similarity.shape[1], self.own.similarity.shape[1]], 1)
        self.block.send_back(documents, of_rows, of_columns, last=last)
        self.own.send_back(mixtures, of_rows, of_columns, last=last)
