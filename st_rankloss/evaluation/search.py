"""Top-k search over a corpus that arrives in chunks, exact or, for vectors, through a faiss index.

Documents are numbered by their position in the corpus, or by the caller, and ties go to the lower number: callers
choose the tie rule through the order of the documents or their numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor

from st_rankloss._extras import require
from st_rankloss.evaluation.best import keep_best, make_keys, pad, read_keys
from st_rankloss.evaluation.dense import SIMILARITIES, DenseVectors
from st_rankloss.evaluation.products import best_products, can_prune
from st_rankloss.evaluation.sparse import SparseVectors
from st_rankloss.evaluation.tokens import TokenVectors

__all__ = ["SIMILARITIES", "Embeddings", "check_index", "exact_search", "faiss_search", "require_faiss"]

Embeddings: TypeAlias = "Tensor | csr_array | list[Tensor]"
"""Vectors, sparse vectors, or the token vectors of each input."""

_BLOCK_ELEMENTS = 2**22  # similarities in memory at a time: 32 MiB in float64


def exact_search(
    queries: Embeddings,
    chunks: Iterable[Embeddings],
    k: int,
    similarity_fn_name: str,
    *,
    numbers: Sequence[int] | NDArray[np.int64] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Find the k most similar documents of each query, regardless of chunk size.

    Similarities are those of float64, rounded to float32, so equal embeddings tie exactly anywhere in the corpus; a
    float32 matrix product would give them different last bits.

    Time: O(Q·D·dim) for vectors: on a CPU, cosines and dot products cost one to three flat faiss searches, see
    `best_products`, and distances many times more; for sparse vectors see `SparseVectors`, for token vectors
    `TokenVectors`. Memory: one chunk of embeddings in float64 (of token vectors, a block) and 4 million similarities at
    a time, plus Q·k results.

    Args:
        queries: Query embeddings, finite: a tensor of shape ``(Q, dim)``, a sparse array of scipy of that shape, or a
            list of one tensor of shape ``(tokens, dim)`` per query.
        chunks: Document embeddings of the same form, finite; fewer than 2^32 documents in all.
        k: Results per query, at least 1; fewer are returned if the corpus is smaller.
        similarity_fn_name: "cosine", "dot", "euclidean" or "manhattan"; for token vectors "maxsim" or "meanmaxsim".
            Distances are negated, as in sentence-transformers.
        numbers: The number of each document, distinct and at least 0, in the order of the chunks; None counts from 0.

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
    for chunk, own in _numbered(chunks, numbers):
        documents = _comparable(chunk, similarity_fn_name)
        own = own.to(vectors.device)
        if isinstance(vectors, DenseVectors) and can_prune(vectors, documents):
            best = best_products(best, vectors, documents, own, k)
            continue
        rows = max(1, _BLOCK_ELEMENTS // max(1, len(documents)))
        blocks = (slice(first, first + rows) for first in range(0, len(vectors), rows))
        merged = [keep_best(best[block], make_keys(vectors.compare(block, documents), own), k) for block in blocks]
        best = torch.cat(merged) if merged else best
    return read_keys(best)


def faiss_search(
    queries: Tensor,
    chunks: Iterable[Tensor],
    k: int,
    similarity_fn_name: str,
    index: Any,
    *,
    numbers: Sequence[int] | NDArray[np.int64] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Find the k most similar documents of each query with a faiss index, in float32.

    "Flat" compares each chunk by itself, so that no index holds the corpus. Of any other index, a copy is trained on
    the whole corpus if needed, filled and searched; the original is unchanged.

    Memory: for "Flat" one chunk in float32; otherwise the index, plus the embeddings (D, dim) in float32 if it needs
    training. Q·k results.

    Args:
        queries: Query embeddings, shape ``(Q, dim)``, finite.
        chunks: Document embeddings, each of shape ``(chunk, dim)``, finite.
        k: Results per query, at least 1.
        similarity_fn_name: "cosine" (embeddings are normalised), "dot" or "euclidean".
        index: An empty faiss index that passes ``check_index``, or a factory string: "Flat", "HNSW32", ...
        numbers: The number of each document, distinct and at least 0, in the order of the chunks; None counts from 0.

    Returns:
        Scores and document numbers, best first, shape ``(Q, k)``; the number is -1, and the score any, if the index
        found fewer.

    Example:
        >>> queries, corpus = torch.eye(2), torch.tensor([[0.6, 0.8], [1.0, 0.0], [2.0, 0.0]])
        >>> scores, numbers = faiss_search(queries, corpus.split(2), 2, "cosine", index="Flat")
        >>> numbers
        array([[1, 2],
               [0, 1]])
    """
    faiss = require_faiss()
    vectors = _to_float32(queries, similarity_fn_name)
    arrays = ((_to_float32(chunk, similarity_fn_name), own) for chunk, own in _numbered(chunks, numbers))
    if isinstance(index, str) and index == "Flat":
        return _flat_search(faiss, vectors, arrays, k, similarity_fn_name)
    filled = _empty_copy(faiss, index, queries.shape[-1], similarity_fn_name)
    found = _fill(filled, arrays)
    scores, places = filled.search(vectors, k)
    scores = _similarities(scores, similarity_fn_name, squared=filled.metric_type == faiss.METRIC_L2)
    chosen = np.where(places < 0, -1, found[places])
    order = np.lexsort((chosen, -scores))
    return np.take_along_axis(scores, order, -1), np.take_along_axis(chosen, order, -1)


def check_index(index: Any, similarity_fn_name: str, documents: int | None = None) -> None:
    """Raise ValueError for an index that cannot rank a corpus by the similarity, before anything is embedded.

    Args:
        index: A faiss index or a factory string.
        similarity_fn_name: The model's similarity, one of ``SIMILARITIES``.
        documents: Number of documents; None means enough.

    Raises:
        ValueError: If the similarity is "manhattan", or the index is not empty, uses another metric or learns more
            clusters than there are documents.

    Example:
        >>> check_index("HNSW32", "cosine")
        >>> check_index("HNSW32", "manhattan")
        Traceback (most recent call last):
        ValueError: index must be None for the similarity 'manhattan' (searched exactly), got 'HNSW32'.
    """
    if similarity_fn_name == "manhattan":
        raise ValueError(f"index must be None for the similarity 'manhattan' (searched exactly), got {index!r}.")
    if documents is not None and (clusters := _learned_clusters(index)) > documents:
        raise ValueError(
            f"index must have at most as many clusters as there are documents, {documents}, got {clusters}: choose "
            "fewer, or 'HNSW32', which needs no training."
        )
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


def _learned_clusters(index: Any) -> int:
    """Return the number of clusters that an index has to learn from the corpus, as far as known before."""
    if isinstance(index, str):
        return max(map(int, re.findall(r"IVF(\d+)", index)), default=0)
    inverted = None if index.is_trained else require_faiss().try_extract_index_ivf(index)
    return 0 if inverted is None else int(inverted.nlist)


def _flat_search(
    faiss: Any,
    queries: NDArray[np.float32],
    arrays: Iterable[tuple[NDArray[np.float32], Tensor]],
    k: int,
    similarity_fn_name: str,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Compare all pairs, chunk by chunk."""
    euclidean = similarity_fn_name == "euclidean"
    metric = faiss.METRIC_L2 if euclidean else faiss.METRIC_INNER_PRODUCT
    best = torch.empty((len(queries), 0), dtype=torch.long)
    for array, own in arrays:
        if len(array):
            scores, places = faiss.knn(queries, array, min(k, len(array)), metric=metric)
            similarities = torch.from_numpy(_similarities(scores, similarity_fn_name, squared=euclidean))
            best = keep_best(best, make_keys(similarities, own[torch.from_numpy(places)]), k)
    return read_keys(pad(best, k))


def _fill(index: Any, arrays: Iterable[tuple[NDArray[np.float32], Tensor]]) -> NDArray[np.int64]:
    """Train an index if needed, fill it, and return the documents' numbers."""
    if not index.is_trained:
        arrays = list(arrays)
        corpus = np.concatenate([array for array, _ in arrays])
        arrays = [(corpus, torch.cat([own for _, own in arrays]))]
        try:
            index.train(corpus)
        except RuntimeError as error:
            raise ValueError(
                f"index must learn from the corpus, got too few documents, {len(corpus)}: choose one of fewer "
                f"clusters, or 'HNSW32', which needs no training. faiss: {error}"
            ) from error
    found = []
    for array, own in arrays:
        index.add(array)
        found.append(own.numpy())
    return np.concatenate(found) if found else np.empty(0, np.int64)


def _similarities(scores: NDArray[np.float32], similarity_fn_name: str, *, squared: bool) -> NDArray[np.float32]:
    """Return faiss's scores, which may be squared distances, as similarities."""
    if not squared:
        return scores
    if similarity_fn_name == "cosine":
        return np.subtract(1, scores / 2, dtype=np.float32)
    return np.negative(np.sqrt(np.maximum(scores, 0)), dtype=np.float32)


def _numbered(chunks: Iterable[Any], numbers: Sequence[int] | NDArray[np.int64] | None) -> Iterator[tuple[Any, Tensor]]:
    """Yield each chunk with its documents' numbers."""
    start = 0
    for chunk in chunks:
        stop = start + (len(chunk) if isinstance(chunk, list) else int(chunk.shape[0]))
        yield chunk, torch.arange(start, stop) if numbers is None else torch.as_tensor(numbers[start:stop])
        start = stop


def _comparable(embeddings: Embeddings, similarity_fn_name: str) -> Any:
    """Return embeddings in the form that compares them."""
    if isinstance(embeddings, Tensor):
        return DenseVectors(embeddings, similarity_fn_name)
    return (TokenVectors if isinstance(embeddings, list) else SparseVectors)(embeddings, similarity_fn_name)


def _to_float32(embeddings: Tensor, similarity_fn_name: str) -> NDArray[np.float32]:
    """Return embeddings for faiss: float32 rows, normalised for the cosine."""
    vectors = embeddings.detach().cpu().float()
    if similarity_fn_name == "cosine":
        lengths = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
        moderate = bool(((lengths > 1e-12) & (lengths < 1e18)).all())  # otherwise squares may leave float32's range
        vectors = vectors / lengths if moderate else DenseVectors(embeddings.cpu(), "cosine").vectors.float()
    array: NDArray[np.float32] = vectors.numpy()
    return np.ascontiguousarray(array)
