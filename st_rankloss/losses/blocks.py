"""Compute loss and gradient for one block of queries at a time, without ever holding a whole (Q, D) matrix.

If an objective is separable over queries, the gradient of each block goes straight to the embeddings, and the block is
freed before the next one begins.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from st_rankloss._host import cos_sim
from st_rankloss.losses.comparisons import Block, Comparison, Product, SimilarityFn, compare_by
from st_rankloss.losses.mixing.own import Drawn, Ranked, rank_own
from st_rankloss.losses.weights import RowsOfWeights
from st_rankloss.objectives import Objective
from st_rankloss.objectives.base import given
from st_rankloss.relevance.matrix import RowsOfRelevance

_ROWS_OF_A_PRODUCT = 256  # below, matrix products slow down
_ENTRIES_AT_ONCE = {"cpu": 2**20, "cuda": 2**25}


class BlockTask(NamedTuple):
    """The work to do for each block of queries."""

    relevance_of: RowsOfRelevance
    """Relevance of all documents for a block of queries, ``(block, D)``."""
    objective: Objective
    comparison: Comparison
    backwards: bool
    """Whether the rows are documents, for which queries are ranked."""
    block_size: int
    weights: Tensor | None
    """The weight of each query, ``(Q,)``; None weights all alike."""
    weights_of: RowsOfWeights | None
    """Weights of all documents for a block of queries, ``(block, D)``; None weights all alike."""
    own: tuple[Drawn, ...]
    """The mixtures that each query ranks alone."""

    def ranked(
        self, queries: Tensor, documents: Tensor, rows: slice, *, with_grad: bool
    ) -> tuple[Block, Tensor, Tensor | None]:
        """Compute the similarities, relevance and weights of a block."""
        queries = queries[rows]
        block = self.comparison.block(queries, documents, backwards=self.backwards, with_grad=with_grad)
        relevance = self.relevance_of(rows).to(queries.dtype)
        relevance, weights = weigh_lists(relevance, None if self.weights_of is None else self.weights_of(rows))
        if not self.own:
            return block, relevance, weights
        ranked = Ranked(queries, documents, block.similarity.detach(), relevance, weights, rows, self.relevance_of)
        return rank_own(block, ranked, self.own, cast(Product, self.comparison), with_grad=with_grad)


class BlockwiseSums(NamedTuple):
    """Sums over the queries of a batch."""

    parts: Tensor
    """The objective's terms, ``(terms,)``, each with its own gradient."""
    defined: Tensor
    """Number of queries with a defined loss, or of weight 0, a scalar."""
    weight: Tensor
    """Sum of the weights of those with a defined loss, a scalar."""
    total: Tensor
    """Sum of the weights of all queries, a scalar."""
    losses: Tensor
    """The loss of each query, NaN where it is undefined, ``(Q,)``; detached."""
    names: tuple[str, ...]
    """The terms' names."""


def sum_over_blocks(
    queries: Tensor,
    documents: Tensor,
    relevance_of: RowsOfRelevance,
    objective: Objective,
    similarity_fct: SimilarityFn = cos_sim,
    block_size: int | None = None,
    weights: Tensor | None = None,
    weights_of: RowsOfWeights | None = None,
    *,
    backwards: bool = False,
    own: tuple[Drawn, ...] = (),
) -> BlockwiseSums:
    """Sum an objective over queries, in the objective's time and O(block · D + (Q + D) · dimensions) memory.

    Args:
        queries: Embeddings, shape ``(Q, dimensions)``, or packed tokens, ``(Q, tokens, dimensions + 1)``; float16 and
            bfloat16 are computed in float32, also under autocast.
        documents: Embeddings of the same kind.
        relevance_of: Maps a slice of queries to their relevance, ``(block, D)``.
        objective: What to sum.
        similarity_fct: Maps embeddings of queries and documents to ``(Q, D)``.
        block_size: Queries per block; None chooses by D. It changes neither value nor gradient; an objective that is
            not separable gets all queries.
        weights: Weight of each query, at least 0, ``(Q,)``; None weights all alike.
        weights_of: Maps a slice of queries to the weights of documents in their lists, ``(block, D)``, at least 0, in
            which 0 leaves a document out; None weights all alike.
        backwards: Whether ``similarity_fct`` takes ``documents`` first: they are queries that each row ranks.
        own: Mixtures that each query ranks alone, see `OwnMixing`; for the cosine and the dot product.

    Returns:
        The sums.
    """
    with torch.autocast(queries.device.type, enabled=False):
        comparison = compare_by(similarity_fct, tokens=queries.dim() == 3)
        queries, documents = comparison.prepare(queries), comparison.prepare(documents)
        if block_size is None:
            mixed = sum(each.mixing.count for each in own) * queries.shape[-1]
            block_size = _rows_at_once(comparison.entries(queries, documents) + mixed, queries.device.type)
        if not objective.separable:
            block_size = len(queries)
        weights = None if weights is None else weights.to(queries.dtype)
        task = BlockTask(relevance_of, objective, comparison, backwards, block_size, weights, weights_of, own)
        found = _BlockwiseSum.apply(queries, documents, task, torch.is_grad_enabled())
        parts, defined, weight, losses, names = found
        return BlockwiseSums(parts, defined, weight, total_weight(queries, weights), losses, names)


class _BlockwiseSum(torch.autograd.Function):
    """Computes the embeddings' gradients along with the sums, and keeps nothing else for backward."""

    @staticmethod
    def forward(
        ctx: Any, queries: Tensor, documents: Tensor, task: BlockTask, grad_enabled: bool
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, tuple[str, ...]]:
        with_grad = grad_enabled and any(ctx.needs_input_grad[:2])
        queries, documents = queries.detach(), documents.detach()
        totals: dict[str, Tensor] = defaultdict(lambda: queries.new_zeros(()))
        gradients: dict[str, tuple[Tensor, Tensor]] = defaultdict(
            lambda: (torch.zeros_like(queries), torch.zeros_like(documents))
        )
        defined, weight = queries.new_zeros(()), queries.new_zeros(())
        losses: list[Tensor] = []
        for start in range(0, len(queries), task.block_size):
            rows = slice(start, min(start + task.block_size, len(queries)))
            block, relevance, in_list = task.ranked(queries, documents, rows, with_grad=with_grad)
            counts = task.objective.defined(relevance)
            weights = None if task.weights is None else torch.where(counts, task.weights[rows], 0)
            with torch.set_grad_enabled(with_grad):
                parts = task.objective.parts(block.similarity, relevance, **given(in_list))
                losses.append(sum_parts(parts, counts))
                parts = {name: _sum(torch.where(counts, part, 0), weights) for name, part in parts.items()}
            for name, part in parts.items():
                totals[name] += part.detach()
                if with_grad:
                    of_queries, of_documents = gradients[name]
                    last = part is [*parts.values()][-1]
                    (gradient,) = torch.autograd.grad(part, block.similarity, retain_graph=not last)
                    block.send_back(gradient, of_queries[rows], of_documents, last=last)
            defined += count_defined(counts, None if task.weights is None else task.weights[rows])
            weight += counts.sum() if weights is None else weights.sum()
            del block, relevance, in_list, counts, parts, part  # free the memory before the next block
        if with_grad:
            ctx.save_for_backward(*(each for both in gradients.values() for each in both))
        each = torch.cat(losses)
        ctx.mark_non_differentiable(defined, weight, each)
        return torch.stack([*totals.values()]), defined, weight, each, tuple(totals)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_parts: Tensor, *_: None) -> tuple[Tensor | None, ...]:
        # Each term keeps its own gradient, for two more matrix products per block, so that callers can weight or drop
        # terms.
        saved = ctx.saved_tensors
        of_queries, of_documents = (
            sum(weight * each for weight, each in zip(of_parts, saved[place::2], strict=True)) for place in (0, 1)
        )
        return of_queries, of_documents, None, None


def _rows_at_once(entries: int, device: str) -> int:
    """Return the number of rows per block: few enough to stay in cache, but enough for fast matrix products."""
    limit = _ENTRIES_AT_ONCE.get(device, 2**22)
    return max(16, limit // max(entries, 1), min(_ROWS_OF_A_PRODUCT, 2 * limit // max(entries, 1)))


def count_defined(counts: Tensor, weights: Tensor | None) -> Tensor:
    """Count the queries with a defined loss, and those of weight 0, which need none: a scalar."""
    return (counts if weights is None else counts | (weights == 0)).sum()


def total_weight(queries: Tensor, weights: Tensor | None) -> Tensor:
    """Sum the weights of queries, 1 each if None, to a scalar with the type and device of what their rows hold."""
    return queries.new_full((), len(queries)) if weights is None else weights.sum()


def sum_parts(parts: Mapping[str, Tensor], defined: Tensor) -> Tensor:
    """Return the loss of each query, NaN where it is undefined, detached."""
    return torch.where(defined, torch.stack([part.detach() for part in parts.values()]).sum(0), torch.nan)


def weigh_lists(relevance: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Return relevance, NaN where a document has weight 0, and weights, both ``(Q, D)`` and of one type."""
    if weights is None:
        return relevance, None
    weights = weights.to(relevance.dtype).expand_as(relevance)
    return relevance.masked_fill(weights == 0, torch.nan), weights


def _sum(losses: Tensor, weights: Tensor | None) -> Tensor:
    return losses.sum() if weights is None else (losses * weights).sum()
