"""Similarities of vectors, exact enough for ties."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

SIMILARITIES = ("cosine", "dot", "euclidean", "manhattan")


class DenseVectors:
    """Vectors in float64, normalised for the cosine, moved off devices without float64.

    Args:
        embeddings: Shape ``(rows, dim)``, of any floating type.
        similarity_fn_name: One of ``SIMILARITIES``.

    Example:
        >>> vectors = DenseVectors(torch.tensor([[3.0, 4.0], [1.0, 0.0]]), "cosine")
        >>> vectors.compare(slice(0, 1), vectors)
        tensor([[1.0000, 0.6000]], dtype=torch.float64)
    """

    def __init__(self, embeddings: Tensor, similarity_fn_name: str) -> None:
        if embeddings.device.type == "mps":
            embeddings = embeddings.cpu()
        vectors = embeddings.detach().double()
        self.vectors = torch.nn.functional.normalize(vectors, dim=-1) if similarity_fn_name == "cosine" else vectors
        self.similarity_fn_name = similarity_fn_name
        self.device = vectors.device

    def __len__(self) -> int:
        return len(self.vectors)

    @cached_property
    def lengths(self) -> Tensor:
        """The length of each vector."""
        lengths: Tensor = torch.linalg.vector_norm(self.vectors, dim=-1)
        return lengths

    def compare(self, rows: slice, documents: DenseVectors) -> Tensor:
        """Compute the similarity of some rows to documents, shape ``(rows, documents)``."""
        queries = self.vectors[rows]
        if self.similarity_fn_name in ("cosine", "dot"):
            return queries @ documents.vectors.T
        p = 1.0 if self.similarity_fn_name == "manhattan" else 2.0
        # A faster matrix product would suffer from cancellation: identical texts would get different distances.
        return -torch.cdist(queries, documents.vectors, p=p, compute_mode="donot_use_mm_for_euclid_dist")
