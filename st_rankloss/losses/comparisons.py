"""How embeddings are compared, block by block, and where the gradient of their similarities goes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from st_rankloss._host import colbert_scores, cos_sim, dot_score, mean_colbert_scores
from st_rankloss.functional.ranks import upcast
from st_rankloss.kernels.maxsim import MaxSimGradient, maxsim
from st_rankloss.losses.tokens import unpack_tokens

SimilarityFn = Callable[..., Tensor]
"""Maps embeddings of queries and documents to ``(Q, D)``; see `RankingLoss`."""

MAXSIMS = (colbert_scores, mean_colbert_scores)


class Block(Protocol):
    """The similarities of a block of rows, and the backward pass from them to the embeddings."""

    similarity: Tensor
    """Shape ``(rows, columns)``."""

    def send_back(self, gradient: Tensor, of_rows: Tensor, of_columns: Tensor, *, last: bool) -> None:
        """Add a gradient of the similarities to those of the embeddings; the ``last`` one may free the graph."""


class Comparison(Protocol):
    """A similarity of embeddings."""

    def prepare(self, embeddings: Tensor) -> Tensor:
        """Convert embeddings, with gradient, before they are cut into blocks."""

    def entries(self, rows: Tensor, columns: Tensor) -> int:
        """Return how many numbers a block holds per row."""

    def block(self, rows: Tensor, columns: Tensor, *, backwards: bool, with_grad: bool) -> Block:
        """Compare some rows with all columns; ``backwards`` if the columns are the queries."""


def compare_by(similarity_fct: SimilarityFn, *, tokens: bool = False) -> Comparison:
    """Return the comparison that a similarity function stands for.

    Args:
        similarity_fct: The function.
        tokens: Whether embeddings are packed tokens.

    Returns:
        The comparison; known functions are computed without a graph.
    """
    if similarity_fct in MAXSIMS:
        return MaxSim(mean=similarity_fct is mean_colbert_scores)
    if tokens:
        return ByFunction(lambda queries, documents: _compare_tokens(similarity_fct, queries, documents))
    if similarity_fct in (cos_sim, dot_score):
        return Product(normalised=similarity_fct is cos_sim)
    return ByFunction(similarity_fct)


class Product:
    """The dot product, of normalised embeddings for the cosine."""

    def __init__(self, *, normalised: bool) -> None:
        self.normalised = normalised

    def prepare(self, embeddings: Tensor) -> Tensor:
        """Normalise, in float32 or better."""
        embeddings = upcast(embeddings)
        return F.normalize(embeddings, dim=-1) if self.normalised else embeddings

    def entries(self, rows: Tensor, columns: Tensor) -> int:
        """Return the number of columns."""
        return len(columns)

    def block(self, rows: Tensor, columns: Tensor, *, backwards: bool, with_grad: bool) -> Block:
        """Multiply."""
        return _ProductBlock(rows, columns, with_grad)

    def own(self, rows: Tensor, own: Tensor) -> Tensor:
        """Compare each row with columns of its own, ``(rows, n, dimensions)``: ``(rows, n)``."""
        return torch.einsum("rd,rnd->rn", rows, self.prepare(own))


class _ProductBlock:
    def __init__(self, rows: Tensor, columns: Tensor, with_grad: bool) -> None:
        self.rows, self.columns = rows, columns
        self.similarity = (rows @ columns.T).requires_grad_(with_grad)

    def send_back(self, gradient: Tensor, of_rows: Tensor, of_columns: Tensor, *, last: bool) -> None:
        of_rows.addmm_(gradient, self.columns)
        of_columns.addmm_(gradient.T, self.rows)


class ByFunction:
    """Any function of embeddings of queries and documents, differentiated by its graph."""

    def __init__(self, function: SimilarityFn) -> None:
        self.function = function

    def prepare(self, embeddings: Tensor) -> Tensor:
        """Convert to float32 or better."""
        return upcast(embeddings)

    def entries(self, rows: Tensor, columns: Tensor) -> int:
        """Return the number of columns."""
        return len(columns)

    def block(self, rows: Tensor, columns: Tensor, *, backwards: bool, with_grad: bool) -> Block:
        """Call the function."""
        return _GraphBlock(self.function, rows, columns, backwards, with_grad)


class _GraphBlock:
    def __init__(self, function: SimilarityFn, rows: Tensor, columns: Tensor, backwards: bool, with_grad: bool) -> None:
        with torch.set_grad_enabled(with_grad):
            self.rows, self.columns = (x.detach().requires_grad_(with_grad) for x in (rows, columns))
            similarity = function(self.columns, self.rows).T if backwards else function(self.rows, self.columns)
            self.similarity = upcast(similarity)

    def send_back(self, gradient: Tensor, of_rows: Tensor, of_columns: Tensor, *, last: bool) -> None:
        embeddings = (self.rows, self.columns)
        gradients = torch.autograd.grad(self.similarity, embeddings, gradient, retain_graph=not last)
        of_rows.add_(gradients[0])
        of_columns.add_(gradients[1])


class MaxSim:
    """The sum, or the mean, over query tokens of the largest dot product with a document token."""

    def __init__(self, *, mean: bool) -> None:
        self.mean = mean

    def prepare(self, embeddings: Tensor) -> Tensor:
        """Convert to float32 or better."""
        return upcast(embeddings)

    def entries(self, rows: Tensor, columns: Tensor) -> int:
        """Return the number of maxima: one per query token and document."""
        return max(rows.shape[1], 1) * len(columns)

    def block(self, rows: Tensor, columns: Tensor, *, backwards: bool, with_grad: bool) -> Block:
        """Find the maxima."""
        return _MaxSimBlock(rows, columns, self.mean, backwards, with_grad)


class _MaxSimBlock:
    def __init__(self, rows: Tensor, columns: Tensor, mean: bool, backwards: bool, with_grad: bool) -> None:
        queries, documents = (columns, rows) if backwards else (rows, columns)
        (queries, query_mask), (documents, document_mask) = unpack_tokens(queries), unpack_tokens(documents)
        scores, best = maxsim(queries, documents, query_mask, document_mask)
        self.gradient = MaxSimGradient(queries, documents, query_mask, document_mask, best)
        self.counts = query_mask.sum(1, keepdim=True).clamp_min(1) if mean else 1
        self.backwards = backwards
        scores = scores / self.counts
        self.similarity = (scores.T if backwards else scores).contiguous().requires_grad_(with_grad)

    def send_back(self, gradient: Tensor, of_rows: Tensor, of_columns: Tensor, *, last: bool) -> None:
        of_scores = (gradient.T if self.backwards else gradient) / self.counts
        gradients = self.gradient(of_scores)
        for into, own in zip((of_rows, of_columns), gradients[:: -1 if self.backwards else 1], strict=True):
            into[..., :-1].add_(own)


def _compare_tokens(function: SimilarityFn, queries: Tensor, documents: Tensor) -> Tensor:
    """Call a scoring function of sentence-transformers, which takes groups of documents: one group each."""
    (queries, query_mask), (documents, document_mask) = unpack_tokens(queries), unpack_tokens(documents)
    return function(queries, documents[:, None], queries_mask=query_mask, documents_mask=document_mask[:, None])
