"""One vector per input, for clustering, from any kind of model that embeds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sentence_transformers import MultiVectorEncoder, SentenceTransformer, SparseEncoder

from st_rankloss._models import kind_of
from st_rankloss.evaluation.sparse import SparseVectors, read_sparse

Vectors = NDArray[np.float32]

_PROJECTED = 256  # dimensions of a sparse vector after its projection, which keeps cosines to about 1/16


def one_vector_each(model: Any, inputs: list[Any], batch_size: int, seed: int) -> Vectors:
    """Encode inputs as unit vectors, whose cosines say which are near.

    Sparse vectors are projected to 256 dimensions at random, if they have more, and never made dense before. Token
    vectors are averaged.

    Args:
        model: A SentenceTransformer, a SparseEncoder or a MultiVectorEncoder.
        inputs: Texts, or any inputs that the model encodes.
        batch_size: Inputs encoded at once, at least 1.
        seed: Seed of the projection, at least 0.

    Returns:
        Shape ``(inputs, dimensions)``; 0 for a sparse vector without entries, or an input without tokens.

    Example:
        ::

            one_vector_each(SparseEncoder("naver/splade-v3"), ["red", "blue"], 32, seed=0).shape  # (2, 256)
    """
    vectors = _READERS[kind_of(model)](model, inputs, {"batch_size": batch_size, "show_progress_bar": False}, seed)
    return unit(vectors)


def unit(vectors: Vectors) -> Vectors:
    """Divide vectors by their length; one of 0 stays."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.ascontiguousarray(vectors / np.maximum(norms, 1e-12), dtype=np.float32)


def _encode_dense(model: Any, inputs: list[Any], options: dict[str, Any], seed: int) -> Vectors:
    return np.asarray(model.encode(inputs, **options), dtype=np.float32)


def _encode_sparse(model: Any, inputs: list[Any], options: dict[str, Any], seed: int) -> Vectors:
    encoded = model.encode(inputs, convert_to_sparse_tensor=True, save_to_cpu=True, **options)
    vectors = SparseVectors(read_sparse(encoded), "cosine").vectors
    dim = vectors.shape[1]
    if dim <= _PROJECTED:
        return np.asarray(vectors.toarray(), dtype=np.float32)
    directions = np.random.default_rng(seed).standard_normal((dim, _PROJECTED), dtype=np.float32)
    return np.asarray(vectors.astype(np.float32) @ directions)


def _encode_tokens(model: Any, inputs: list[Any], options: dict[str, Any], seed: int) -> Vectors:
    encoded = model.encode(inputs, convert_to_numpy=True, **options)
    return np.stack([tokens.sum(axis=0, dtype=np.float32) for tokens in encoded])  # the norm is divided out later


_READERS: dict[type, Callable[[Any, list[Any], dict[str, Any], int], Vectors]] = {
    SentenceTransformer: _encode_dense,
    SparseEncoder: _encode_sparse,
    MultiVectorEncoder: _encode_tokens,
}
