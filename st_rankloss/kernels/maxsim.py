"""MaxSim of token embeddings and its gradient, in blocks: similarities of all tokens are never held at once.

The gradient of a maximum goes to one document token, so it is a weighted sum of gathered rows for each query token and,
after sorting by document token, for each document token: two cheap passes instead of two matrix products.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

NO_TOKENS = -1e9
"""The score of a document without tokens, as in sentence-transformers: below all others."""

_MASKED = -1e30
_CELLS = {"cpu": 2**22, "cuda": 2**27}
"""Token similarities in memory at a time."""


def maxsim(queries: Tensor, documents: Tensor, query_mask: Tensor, document_mask: Tensor) -> tuple[Tensor, Tensor]:
    """Sum, over the tokens of each query, the largest dot product with a token of each document.

    Time: one matrix product of all tokens. Memory: O(Q · S · D), for Q queries of S tokens and D documents, plus a
    fixed number of token similarities.

    Args:
        queries: Token embeddings, shape ``(Q, S, dimensions)``, float32 or float64.
        documents: Token embeddings, shape ``(D, T, dimensions)``.
        query_mask: Which query tokens count, ``(Q, S)`` bool.
        document_mask: Which document tokens count, ``(D, T)`` bool.

    Returns:
        Scores, shape ``(Q, D)``, `NO_TOKENS` for documents without tokens; and for each query token and document the
        index of the best token among those of all documents, shape ``(Q · S, D)``, int32.

    Example:
        >>> tokens, mask = torch.eye(2)[None], torch.ones(1, 2, dtype=torch.bool)
        >>> maxsim(tokens, tokens, mask, mask)
        (tensor([[2.]]), tensor([[0],
                [1]], dtype=torch.int32))
    """
    (count, length), (total, width) = query_mask.shape, document_mask.shape
    # An extra coordinate masks document tokens in the matrix product itself, without another pass over its result.
    bias = torch.where(document_mask, 0.0, _MASKED).to(documents.dtype)
    right = torch.cat([documents, bias[..., None]], -1).flatten(0, 1).T
    left = F.pad(queries.flatten(0, 1), (0, 1), value=1.0)
    largest = left.new_empty((len(left), total))
    best = torch.empty((len(left), total), dtype=torch.int32, device=left.device)
    step = max(1, _CELLS.get(left.device.type, _CELLS["cuda"]) // max(1, len(left) * width))
    for start in range(0, total, step):
        stop = min(start + step, total)
        cells = (left @ right[:, start * width : stop * width]).view(len(left), stop - start, width)
        values, places = cells.max(-1)
        largest[:, start:stop] = values
        best[:, start:stop] = places + torch.arange(start, stop, device=left.device) * width
    counted = torch.where(query_mask.flatten()[:, None], largest, 0).view(count, length, total)
    return counted.sum(1).masked_fill(~document_mask.any(1), NO_TOKENS), best


class MaxSimGradient:
    """The gradient of MaxSim scores with respect to token embeddings.

    Args:
        queries: As for `maxsim`.
        documents: As for `maxsim`.
        query_mask: As for `maxsim`.
        document_mask: As for `maxsim`.
        best: The second result of `maxsim`.

    Example:
        >>> tokens, mask = torch.eye(2)[None], torch.ones(1, 2, dtype=torch.bool)
        >>> scores, best = maxsim(tokens, 3 * tokens, mask, mask)
        >>> of_queries, of_documents = MaxSimGradient(tokens, 3 * tokens, mask, mask, best)(torch.ones(1, 1))
        >>> of_queries[0], of_documents[0]
        (tensor([[3., 0.],
                [0., 3.]]), tensor([[1., 0.],
                [0., 1.]]))
    """

    def __init__(
        self, queries: Tensor, documents: Tensor, query_mask: Tensor, document_mask: Tensor, best: Tensor
    ) -> None:
        self.queries, self.documents, self.best = queries, documents, best
        self.query_mask, self.has_tokens = query_mask, document_mask.any(1)
        self._sorted: tuple[Tensor, Tensor, Tensor] | None = None

    def __call__(self, of_scores: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the gradient.

        Args:
            of_scores: The gradient with respect to the scores, ``(Q, D)``.

        Returns:
            The gradients with respect to ``queries`` and ``documents``, of their shapes.
        """
        of_scores = torch.where(self.has_tokens, of_scores, 0)
        weights = (of_scores[:, None] * self.query_mask[..., None]).flatten(0, 1)  # (Q · S, D)
        of_queries = F.embedding_bag(
            self.best, self.documents.flatten(0, 1), mode="sum", per_sample_weights=weights.contiguous()
        )
        order, tokens, starts = self._by_document_token()
        of_documents = F.embedding_bag(
            tokens, self.queries.flatten(0, 1), starts, mode="sum", per_sample_weights=weights.flatten()[order]
        )
        return of_queries.view_as(self.queries), of_documents.view_as(self.documents)

    def _by_document_token(self) -> tuple[Tensor, Tensor, Tensor]:
        """Sort the maxima by document token; return their order, their query tokens, and where each token starts."""
        if self._sorted is None:
            keys, order = self.best.flatten().sort()
            every = torch.arange(self.documents.shape[:2].numel(), dtype=keys.dtype, device=keys.device)
            tokens = (order // self.best.shape[1]).to(keys.dtype)
            self._sorted = order, tokens, torch.searchsorted(keys, every).to(keys.dtype)
        return self._sorted
