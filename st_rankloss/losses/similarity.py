"""Similarities between all queries and documents that sentence-transformers offers for aligned pairs only."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def angle_sim(queries: Tensor, documents: Tensor) -> Tensor:
    """Compute the AnglE similarity, |cosine + sine|, of all queries and documents in one matrix product.

    ``RankingLoss(model, objective=OverPairs(CoSENT()), relevance=Pairs(), similarity_fct=angle_sim)`` is
    sentence-transformers' AnglELoss.

    Args:
        queries: Embeddings, shape ``(Q, dimensions)``; dimension i is paired with i + dimensions/2.
        documents: Embeddings, shape ``(D, dimensions)``.

    Returns:
        Shape ``(Q, D)``, in [0, √2].

    Example:
        >>> angle_sim(torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0, 0.0], [0.0, 1.0], [1.0, -1.0]]))
        tensor([[1.0000, 1.0000, 1.4142]])

    Source: Li and Li (2024), "AoE: Angle-optimized Embeddings for Semantic Textual Similarity", arXiv 2309.12871, as
    implemented by ``pairwise_angle_sim`` in sentence-transformers.
    """
    if queries.shape[1] % 2:
        queries, documents = F.pad(queries, (0, 1)), F.pad(documents, (0, 1))
    queries, documents = F.normalize(queries, dim=1), F.normalize(documents, dim=1)
    first, last = documents.chunk(2, dim=1)
    turned = torch.cat([first - last, last + first], dim=1)  # the document, and the document a quarter turn on
    return (queries @ turned.T).abs()
