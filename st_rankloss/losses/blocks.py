"""Loss and gradient block by block of queries, so that the (Q, D) matrices never exist whole.

Where an objective is separable over queries, each block's similarities, relevance and loss are computed, its
gradient goes straight to the embeddings, and the block is gone before the next one begins.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from st_rankloss._host import cos_sim, dot_score
from st_rankloss.functional.ranks import upcast
from st_rankloss.objectives import Objective

SimilarityFn = Callable[[Tensor, Tensor], Tensor]

_ENTRIES_AT_ONCE = {"cpu": 2**19, "cuda": 2**25}


class BlockTask(NamedTuple):
    """What is done to each block of queries."""

    relevance_of: Callable[[slice], Tensor]
    """Relevance of all documents for a block of queries, ``(block, D)``."""
    objective: Objective
    similarity_fct: SimilarityFn | None
    """None stands for the dot product, whose gradient needs no graph."""
    block_size: int


class BlockwiseSums(NamedTuple):
    """Sums over the queries of a batch."""

    parts: Tensor
    """The objective's terms, ``(terms,)``; only their plain sum may be differentiated."""
    defined: Tensor
    """How many queries had something to learn from, a scalar."""
    names: tuple[str, ...]


def sum_over_blocks(
    queries: Tensor,
    documents: Tensor,
    relevance_of: Callable[[slice], Tensor],
    objective: Objective,
    similarity_fct: SimilarityFn = cos_sim,
    block_size: int | None = None,
) -> BlockwiseSums:
    """Sum an objective over queries; time as the objective's, memory O(block · D + (Q + D) · dimensions).

    Args:
        queries: Embeddings, shape ``(Q, dimensions)``; float16 and bfloat16 are computed in float32, also
            under autocast.
        documents: Embeddings, shape ``(D, dimensions)``.
        relevance_of: Maps a slice of queries to their relevance, ``(block, D)``.
        objective: What to sum.
        similarity_fct: Maps embeddings of queries and documents to ``(Q, D)``.
        block_size: Queries at once; None chooses by D. It changes neither value nor gradient; an objective that is not
            separable gets all queries.

    Returns:
        The sums.
    """
    names: list[str] = []
    with torch.autocast(queries.device.type, enabled=False):
        queries, documents = upcast(queries), upcast(documents)
        if similarity_fct is cos_sim:
            queries, documents = F.normalize(queries, dim=-1), F.normalize(documents, dim=-1)
        if block_size is None:
            block_size = max(16, _ENTRIES_AT_ONCE.get(queries.device.type, 2**22) // max(len(documents), 1))
        if not objective.separable:
            block_size = len(queries)
        by_graph = None if similarity_fct in (cos_sim, dot_score) else similarity_fct
        task = BlockTask(relevance_of, objective, by_graph, block_size)
        parts, defined = _BlockwiseSum.apply(queries, documents, task, torch.is_grad_enabled(), names)
    return BlockwiseSums(parts, defined, tuple(names))


class _BlockwiseSum(torch.autograd.Function):
    """Computes the embeddings' gradient along with the sums, and keeps nothing else for backward."""

    @staticmethod
    def forward(
        ctx: Any, queries: Tensor, documents: Tensor, task: BlockTask, grad_enabled: bool, names: list[str]
    ) -> tuple[Tensor, Tensor]:
        with_grad = grad_enabled and any(ctx.needs_input_grad[:2])
        queries, documents = queries.detach(), documents.detach()
        grad_queries = torch.zeros_like(queries) if with_grad else None
        grad_documents = torch.zeros_like(documents) if with_grad else None
        totals: dict[str, Tensor] = {}
        defined = queries.new_zeros(())
        for start in range(0, len(queries), task.block_size):
            rows = slice(start, min(start + task.block_size, len(queries)))
            block = _Block(queries[rows], documents, task.similarity_fct, with_grad)
            relevance = task.relevance_of(rows).to(queries.dtype)
            counts = task.objective.defined(relevance)
            with torch.set_grad_enabled(with_grad):
                parts = task.objective.parts(block.similarity, relevance)
                parts = {name: torch.where(counts, part, 0).sum() for name, part in parts.items()}
                loss = torch.stack(list(parts.values())).sum()
            for name, part in parts.items():
                totals[name] = totals.get(name, 0) + part.detach()
            defined += counts.sum()
            if grad_queries is not None and grad_documents is not None:
                block.send_back(loss, grad_queries[rows], grad_documents)
        names.extend(totals)
        if grad_queries is not None and grad_documents is not None:
            ctx.save_for_backward(grad_queries, grad_documents)
        ctx.mark_non_differentiable(defined)
        return torch.stack(list(totals.values())), defined

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_parts: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        grad_queries, grad_documents = ctx.saved_tensors
        # The gradient at hand is that of the plain sum of all parts. NaN says loudly, and without making the
        # host wait, that somebody has weighted the parts differently.
        scale = torch.where((grad_parts == grad_parts[0]).all(), grad_parts[0], torch.nan)
        return grad_queries * scale, grad_documents * scale, None, None, None


class _Block:
    """The similarities of one block, and the way back from their gradient to the embeddings."""

    def __init__(
        self, queries: Tensor, documents: Tensor, similarity_fct: SimilarityFn | None, with_grad: bool
    ) -> None:
        self.queries, self.documents, self.by_graph = queries, documents, similarity_fct is not None
        if similarity_fct is None:
            self.similarity = (queries @ documents.T).requires_grad_(with_grad)
            return
        with torch.set_grad_enabled(with_grad):
            self.queries, self.documents = (x.detach().requires_grad_(with_grad) for x in (queries, documents))
            self.similarity = upcast(similarity_fct(self.queries, self.documents))

    def send_back(self, loss: Tensor, grad_queries: Tensor, grad_documents: Tensor) -> None:
        """Add the gradient of ``loss`` to those of the block's queries and of all documents."""
        if self.by_graph:
            for total, grad in zip(
                (grad_queries, grad_documents),
                torch.autograd.grad(loss, (self.queries, self.documents)),
                strict=True,
            ):
                total.add_(grad)
            return
        (grad,) = torch.autograd.grad(loss, self.similarity)
        grad_queries.addmm_(grad, self.documents)
        grad_documents.addmm_(grad.T, self.queries)
