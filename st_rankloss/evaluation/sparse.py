"""Similarities of sparse vectors, which never become dense."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor

from st_rankloss.evaluation.dense import SIMILARITIES

__all__ = ["SIMILARITIES", "SparseVectors", "read_sparse"]

_BLOCK_ENTRIES = 2**20  # differences in memory at a time


def read_sparse(embeddings: Tensor) -> csr_array:
    """Return a sparse tensor as rows of scipy.

    Args:
        embeddings: A sparse tensor of shape ``(rows, dim)``, of any floating type.

    Returns:
        The same entries in float32.

    Example:
        >>> read_sparse(torch.tensor([[0.0, 2.0], [0.0, 0.0]]).to_sparse()).nnz
        1
    """
    embeddings = embeddings.detach().coalesce().cpu()
    places = tuple(embeddings.indices().numpy())
    return csr_array((embeddings.values().float().numpy(), places), shape=tuple(embeddings.shape))


class SparseVectors:
    """Sparse vectors in float64, normalised for the cosine.

    Every similarity adds the entries of a pair of rows in the order of their dimensions, so equal rows tie exactly.
    A product takes time by the entries that share a dimension. A distance is computed from the differences, since
    norms and a product would suffer from cancellation: time O(Q·entries of the corpus).

    Args:
        embeddings: Rows of scipy, shape ``(rows, dim)``.
        similarity_fn_name: One of ``SIMILARITIES``.

    Example:
        >>> vectors = SparseVectors(csr_array([[3.0, 4.0, 0.0], [1.0, 0.0, 0.0]]), "euclidean")
        >>> vectors.compare(slice(1, 2), vectors)
        tensor([[-4.4721, -0.0000]], dtype=torch.float64)
    """

    device = torch.device("cpu")

    def __init__(self, embeddings: csr_array, similarity_fn_name: str) -> None:
        self.vectors = csr_array(embeddings, dtype=np.float64, copy=True)
        self.vectors.sum_duplicates()
        if similarity_fn_name == "cosine":
            norms = np.sqrt(self.vectors.power(2).sum(axis=1))
            self.vectors.data /= np.maximum(norms, 1e-12).repeat(np.diff(self.vectors.indptr))
        self.similarity_fn_name = similarity_fn_name

    def __len__(self) -> int:
        return int(self.vectors.shape[0])

    @cached_property
    def _columns(self) -> Any:
        return self.vectors.T.tocsr()

    def compare(self, rows: slice, documents: SparseVectors) -> Tensor:
        """Compute the similarity of some rows to documents, shape ``(rows, documents)``."""
        queries = self.vectors[rows]
        if self.similarity_fn_name in ("cosine", "dot"):
            return torch.from_numpy((queries @ documents._columns).toarray())
        distances = [self._distances(queries[[row]], documents.vectors) for row in range(queries.shape[0])]
        return -torch.from_numpy(np.stack(distances))

    def _distances(self, query: csr_array, documents: csr_array) -> NDArray[np.float64]:
        """Compute the distances of one query, in blocks of documents with a bounded number of entries."""
        found: list[NDArray[np.float64]] = [np.zeros(0)]
        size = max(1, _BLOCK_ENTRIES // max(1, query.nnz + documents.nnz // max(1, documents.shape[0])))
        for start in range(0, documents.shape[0], size):
            block = documents[start : start + size]
            ends = query.nnz * np.arange(block.shape[0] + 1)
            copies = (np.tile(query.data, block.shape[0]), np.tile(query.indices, block.shape[0]), ends)
            differences = abs(block - csr_array(copies, shape=block.shape))
            if self.similarity_fn_name == "manhattan":
                found.append(differences.sum(axis=1))
            else:
                found.append(np.sqrt(differences.power(2).sum(axis=1)))
        return np.concatenate(found)
