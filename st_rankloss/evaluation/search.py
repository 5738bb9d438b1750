"""Top-k search over a corpus that arrives in chunks, exact or, for vectors, through a faiss index.

Documents are numbered by their position in the corpus, and ties go to the lower number: callers choose the tie rule
through the order of the documents.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor

from st_rankloss._extras import require
from st_rankloss.evaluation.dense import SIMILARITIES, DenseVectors
from st_rankloss.evaluation.sparse import SparseVectors
from st_rankloss.evaluation.tokens import TokenVectors

__all__ = ["SIMILARITIES", "Embeddings", "check_index", "exact_search", "faiss_search", "require_faiss"]

Embeddings: TypeAlias = "Tensor | csr_array | list[Tensor]"
"""Vectors, sparse vectors, or the token vectors of each input."""

_LOW_BITS = 0xFFFFFFFF
_BLOCK_ELEMENTS = 2**22  # similarities in memory at a time: 32 MiB in float64


def exact_search(
    queries: Embeddings, chunks: Iterable[Embeddings], k: int, similarity_fn_name: str
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Find the k most similar documents of each query, regardless of chunk size.

    Similarities are computed in float64 and rounded to float32, so equal embeddings tie exactly anywhere in the corpus;
    a float32 matrix product would give them different last bits.

    Time: O(Q·D·dim) for vectors, where distances take about four times as long as the cosine; for sparse vectors see
    `SparseVectors`, for token vectors `TokenVectors`. Memory: one chunk of embeddings in float64 (of token vectors, a
    block) and 4 million similarities at a time, plus Q·k results.

    Args:
        queries: Query embeddings, finite: a tensor of shape ``(Q, dim)``, a sparse array of scipy of that shape, or a
            list of one tensor of shape ``(tokens, dim)`` per query.
        chunks: Document embeddings of the same form, finite; fewer than 2^32 documents in all.
        k: Results per query, at least 1; fewer are returned if the corpus is smaller.
        similarity_fn_name: "cosine", "dot", "euclidean" or "manhattan"; for token vectors "maxsim" or "meanmaxsim".
            Distances are negated, as in sentence-transformers.

    Returns:
        Scores and document numbers, best first, shape ``(Q, min(k, D))``.

    Example:
        >>> queries, corpus = torch.eye(2), torch.tensor([[0.6, 0.8], [1.0, 0.0], [2.0, 0.0]])
        >>> scores, numbers = exact_search(queries, corpus.split(2), k=2, similarity_fn_name="cosine")
        >>> numbers
        array([[1, 2],
               [0, 1]])
        >>> exact_search(csr_array(queries.numpy()), [csr_array(corpus.numpy())], k=1, similarity_fn_name="dot")[1]
        array([[2],
               [0]])
    """
    vectors = _comparable(queries, similarity_fn_name)
    best = torch.empty((len(vectors), 0), dtype=torch.long, device=vectors.device)
    start = 0
    for chunk in chunks:
        documents = _comparable(chunk, similarity_fn_name)
        rows = max(1, _BLOCK_ELEMENTS // max(1, len(documents)))
        blocks = (slice(first, first + rows) for first in range(0, len(vectors), rows))
        best = torch.cat([_best_keys(best[block], vectors.compare(block, documents), start, k) for block in blocks])
        start += len(documents)
    ordered = (best >> 32).to(torch.int32)
    scores = _flip_negative(ordered).view(torch.float32)
    return scores.cpu().numpy(), (_LOW_BITS - (best & _LOW_BITS)).cpu().numpy()


def faiss_search(
    queries: Tensor, chunks: Iterable[Tensor], k: int, similarity_fn_name: str, index: Any
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Find the k most similar documents of each query with a faiss index, in float32.

    A copy of the index is trained on the whole corpus if needed, filled and searched; the original is unchanged.
    Memory: the index, plus the embeddings (D, dim) in float32 if it needs training.

    Args:
        queries: Query embeddings, shape ``(Q, dim)``, finite.
        chunks: Document embeddings, each of shape ``(chunk, dim)``, finite.
        k: Results per query, at least 1.
        similarity_fn_name: "cosine" (embeddings are normalised), "dot" or "euclidean".
        index: An empty faiss index that passes ``check_index``, or a factory string: "Flat", "HNSW32", ...

    Returns:
        Scores and document numbers, best first, shape ``(Q, k)``; the number is -1 if the index found fewer.

    Example:
        >>> queries, corpus = torch.eye(2), torch.tensor([[0.6, 0.8], [1.0, 0.0], [2.0, 0.0]])
        >>> scores, numbers = faiss_search(queries, corpus.split(2), 2, "cosine", index="Flat")
        >>> numbers
        array([[1, 2],
               [0, 1]])
    """
    faiss = require_faiss()
    filled = _empty_copy(faiss, index, queries.shape[-1], similarity_fn_name)
    arrays = (_to_float32(chunk, similarity_fn_name) for chunk in chunks)
    if not filled.is_trained:
        corpus = np.concatenate(list(arrays))
        filled.train(corpus)
        arrays = (corpus for _ in range(1))
    for array in arrays:
        filled.add(array)
    scores, numbers = filled.search(_to_float32(queries, similarity_fn_name), k)
    if filled.metric_type == faiss.METRIC_L2:  # squared distances, smaller is better
        scores = 1 - scores / 2 if similarity_fn_name == "cosine" else -np.sqrt(np.maximum(scores, 0))
    order = np.lexsort((numbers, -scores))
    return np.take_along_axis(scores, order, -1), np.take_along_axis(numbers, order, -1)


def check_index(index: Any, similarity_fn_name: str) -> None:
    """Raise ValueError for an index that cannot rank by the similarity, before anything is embedded.

    Args:
        index: A faiss index or a factory string.
        similarity_fn_name: The model's similarity, one of ``SIMILARITIES``.

    Raises:
        ValueError: If the similarity is "manhattan", or the index is not empty or uses another metric.

    Example:
        >>> check_index("HNSW32", "cosine")
        >>> check_index("HNSW32", "manhattan")
        Traceback (most recent call last):
        ValueError: index must be None for the similarity 'manhattan' (searched exactly), got 'HNSW32'.
    """
    if similarity_fn_name == "manhattan":
        raise ValueError(f"index must be None for the similarity 'manhattan' (searched exactly), got {index!r}.")
    if isinstance(index, str):
        return
    faiss = require_faiss()
    if index.ntotal:
        raise ValueError(
            f"index must be empty (a copy of it is filled with the corpus), got one with {index.ntotal} "
            "vectors; call index.reset() first."
        )
    inner_product, l2 = ("METRIC_INNER_PRODUCT",), ("METRIC_L2",)
    allowed = {"cosine": inner_product + l2, "dot": inner_product, "euclidean": l2}[similarity_fn_name]
    if index.metric_type not in [getattr(faiss, metric) for metric in allowed]:
        raise ValueError(
            f"index must use {' or '.join('faiss.' + metric for metric in allowed)} for the similarity "
            f"{similarity_fn_name!r}, got metric_type {index.metric_type}."
        )


def require_faiss() -> Any:
    """Import faiss, or raise an ImportError that names the extra that installs it."""
    return require("faiss", "faiss", purpose="searching a large corpus or a custom index")


def _empty_copy(faiss: Any, index: Any, dim: int, similarity_fn_name: str) -> Any:
    """Build an index from a factory string, or clone an index, for ``dim`` dimensions."""
    if isinstance(index, str):
        metric = faiss.METRIC_L2 if similarity_fn_name == "euclidean" else faiss.METRIC_INNER_PRODUCT
        try:
            return faiss.index_factory(dim, index, metric)
        except RuntimeError as error:
            raise ValueError(
                f"index must be a faiss factory string that fits {dim} dimensions, got {index!r}."
            ) from error
    if index.d != dim:
        raise ValueError(f"index must have the {dim} dimensions of the embeddings, got {index.d}.")
    return faiss.clone_index(index)


def _comparable(embeddings: Embeddings, similarity_fn_name: str) -> Any:
    """Return embeddings in the form that compares them."""
    if isinstance(embeddings, Tensor):
        return DenseVectors(embeddings, similarity_fn_name)
    return (TokenVectors if isinstance(embeddings, list) else SparseVectors)(embeddings, similarity_fn_name)


def _to_float32(embeddings: Tensor, similarity_fn_name: str) -> NDArray[np.float32]:
    """Return embeddings for faiss: float32 rows, normalised for the cosine."""
    vectors: NDArray[np.float32] = DenseVectors(embeddings, similarity_fn_name).vectors.float().cpu().numpy()
    return np.ascontiguousarray(vectors)


def _best_keys(best: Tensor, similarity: Tensor, start: int, k: int) -> Tensor:
    """Merge a chunk that starts at document number ``start`` into the sorted keys of the best so far.

    A key is one int64 that sorts by score, then by lower number, so ``topk`` has no ties to break: the float32 bits of
    the score in the upper half, the number counted downwards in the lower half.
    """
    similarity = similarity.float() + 0.0  # + 0.0: -0.0 becomes 0.0
    numbers = torch.arange(start, start + similarity.shape[1], device=similarity.device)
    keys = (_flip_negative(similarity.view(torch.int32)).long() << 32) | (_LOW_BITS - numbers)
    keys = torch.cat([best, keys.topk(min(k, keys.shape[1])).values], dim=-1)
    return keys.topk(min(k, keys.shape[-1])).values


def _flip_negative(bits: Tensor) -> Tensor:
    """Map float32 bits to integers in the order of the floats; the map is its own inverse."""
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)
