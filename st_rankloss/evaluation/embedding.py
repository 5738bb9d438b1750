"""Embeddings of queries and documents by any kind of model, in the form that `exact_search` compares."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from scipy.sparse import vstack
from sentence_transformers import MultiVectorEncoder, SentenceTransformer, SparseEncoder
from torch import Tensor

from st_rankloss._host import infer_modality
from st_rankloss._models import kind_of
from st_rankloss.evaluation import dense, sparse, tokens
from st_rankloss.evaluation.search import Embeddings, check_index
from st_rankloss.functional.checks import NotFiniteError
from st_rankloss.judgements import check_inputs, few


@dataclass(frozen=True)
class Embedder:
    """A model that embeds queries and documents, of any kind that makes embeddings.

    Args:
        model: A SentenceTransformer, a SparseEncoder or a MultiVectorEncoder.
        batch_size: Inputs encoded at a time, at least 1.
        show_progress_bar: Whether to show progress over the batches.
        truncate_dim: Dimension to truncate vectors to; None keeps all. For a SentenceTransformer.
        max_active_dims: Largest number of dimensions of a sparse vector that are not 0; None means the model's own.
            For a SparseEncoder.
        precision: "float32", or "binary" or "ubinary" for the sign of each dimension, as 1 or -1. For a
            SentenceTransformer.
        query_prompt: Prompt for the queries.
        query_prompt_name: Name of the model's prompt for the queries.
        corpus_prompt: Prompt for the documents.
        corpus_prompt_name: Name of the model's prompt for the documents.

    Raises:
        ValueError: If the model's similarity is not supported, or a setting is for another kind of model.

    Example:
        ::

            embedder = Embedder(model, batch_size=64)
            queries = embedder.embed_queries({"q1": "red"})
            documents = embedder.embed_documents({"d1": "rose", "d2": "grass"})
            exact_search(queries, [documents], 1, embedder.compared_by)
    """

    model: Any
    batch_size: int = 32
    show_progress_bar: bool = False
    truncate_dim: int | None = None
    max_active_dims: int | None = None
    precision: str = "float32"
    query_prompt: str | None = None
    query_prompt_name: str | None = None
    corpus_prompt: str | None = None
    corpus_prompt_name: str | None = None

    def __post_init__(self) -> None:
        if self.similarity not in self._form.similarities:
            raise ValueError(f"similarity_fn_name must be one of {self._form.similarities}, got {self.similarity!r}.")
        for name, default in (("truncate_dim", None), ("max_active_dims", None), ("precision", "float32")):
            if (value := getattr(self, name)) != default and name not in self._form.settings:
                remedy = f"; use {' or '.join(self._form.settings)}" if self._form.settings else ""
                raise ValueError(f"{name} must be {default!r} for a {self.kind.__name__}, got {value!r}{remedy}.")

    @property
    def kind(self) -> type:
        """The kind of the model, such as SparseEncoder."""
        return kind_of(self.model)

    @property
    def similarity(self) -> str:
        """The name of the model's similarity, such as "cosine"."""
        return str(self.model.similarity_fn_name)

    @property
    def compared_by(self) -> str:
        """The name of the similarity that compares the embeddings."""
        # Dot products of signs order them as their cosine does, and are integers, so that ties are exact.
        return "dot" if self.precision != "float32" and self.similarity == "cosine" else self.similarity

    @property
    def chunk(self) -> int:
        """Documents to embed and search at a time, as in sentence-transformers."""
        return self._form.chunk

    @property
    def _form(self) -> _Form:
        return _FORMS[self.kind]

    def check_inputs(self, inputs: Mapping[str, Any], name: str) -> None:
        """Raise a ValueError that names the first input that the model does not encode."""
        check_inputs(inputs.items(), name, "id", text_only=list(self.model.modalities) == ["text"])

    def takes_index(self) -> bool:
        """Return whether faiss can search the embeddings."""
        return self.kind is SentenceTransformer and self.similarity != "manhattan"

    def check_index(self, index: Any, documents: int) -> None:
        """Raise ValueError for an index that cannot rank the embeddings, before anything is embedded."""
        if self.kind is not SentenceTransformer:
            raise ValueError(f"index must be None for a {self.kind.__name__} (searched exactly), got {index!r}.")
        check_index(index, self.compared_by, documents)

    def embed_queries(self, queries: Mapping[str, Any]) -> Embeddings:
        """Encode queries by id, or raise ValueError with the ids of embeddings that are not finite."""
        prompts = {"prompt": self.query_prompt, "prompt_name": self.query_prompt_name}
        return self._embed(self.model.encode_query, queries, "query", prompts)

    def embed_documents(self, documents: Mapping[str, Any], pool: Any = None) -> Embeddings:
        """Encode documents by id, or raise ValueError with the ids of embeddings that are not finite.

        Args:
            documents: Document id to document.
            pool: Processes that encode, of ``model.start_multi_process_pool()``; None means this process.

        Returns:
            The embeddings, in the order of the documents.
        """
        prompts = {"prompt": self.corpus_prompt, "prompt_name": self.corpus_prompt_name}
        prompts |= {} if pool is None else {"pool": pool}
        return self._embed(self.model.encode_document, documents, "document", prompts)

    def _embed(self, encode: Callable[..., Any], inputs: Mapping[str, Any], name: str, prompts: Any) -> Embeddings:
        options = {"batch_size": self.batch_size, "show_progress_bar": self.show_progress_bar}
        options |= {**prompts, **self._form.options(self, name == "document")}
        groups = self._by_modality(inputs)
        parts = [self._read(encode(list(group.values()), **options), list(group), name) for group in groups]
        if len(parts) == 1:
            return parts[0]
        place = {input_id: place for place, input_id in enumerate(chain.from_iterable(groups))}
        return take(join(parts), [place[input_id] for input_id in inputs])

    def _by_modality(self, inputs: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        """Group inputs that a model can always encode in one batch."""
        supported = list(self.model.modalities)
        if supported == ["text"]:
            return [inputs]
        groups: dict[Any, dict[str, Any]] = {}
        for input_id, value in inputs.items():
            groups.setdefault(infer_modality(value, supported), {})[input_id] = value
        return list(groups.values())

    def _read(self, encoded: Any, ids: Sequence[str], name: str) -> Embeddings:
        """Return the output of a model as embeddings, or raise ValueError with the ids of those not finite."""
        embeddings, wrong = self._form.read(encoded)
        if len(wrong):
            raise NotFiniteError(
                f"{name} embeddings must be finite, got NaN or infinity for {few(ids[row] for row in wrong)}: the "
                "model has probably diverged (learning rate too high) or overflows in float16 (use bfloat16, float32)."
            )
        return embeddings if self.precision == "float32" else _signs(embeddings)


def count(embeddings: Embeddings) -> int:
    """Return the number of inputs that were embedded."""
    return len(embeddings) if isinstance(embeddings, list) else int(embeddings.shape[0])


def join(parts: Sequence[Any]) -> Embeddings:
    """Return the embeddings of all parts, one after another."""
    if isinstance(parts[0], Tensor):
        return torch.cat(list(parts))
    return list(chain.from_iterable(parts)) if isinstance(parts[0], list) else vstack(parts, format="csr")


def take(embeddings: Embeddings, rows: Sequence[int]) -> Embeddings:
    """Return the embeddings of some inputs, in the order of ``rows``."""
    return [embeddings[row] for row in rows] if isinstance(embeddings, list) else embeddings[list(rows)]


@dataclass(frozen=True)
class _Form:
    """What a kind of model makes of inputs."""

    similarities: tuple[str, ...]
    settings: tuple[str, ...]
    """The names of settings that only this kind has."""
    chunk: int
    options: Callable[[Embedder, bool], dict[str, Any]]
    """The options of ``encode_query`` and, if the second argument is true, of ``encode_document``."""
    read: Callable[[Any], tuple[Embeddings, Sequence[int]]]
    """Return the embeddings, and the rows that are not finite."""


def _signs(embeddings: Any) -> Tensor:
    return torch.where(embeddings > 0, 1.0, -1.0)


def _read_dense(encoded: Tensor) -> tuple[Embeddings, Sequence[int]]:
    if encoded.numel() and torch.stack(encoded.aminmax()).isfinite().all():  # one pass
        return encoded, []
    return encoded, (~torch.isfinite(encoded).all(dim=-1)).nonzero().flatten().tolist()


def _read_sparse(encoded: Tensor) -> tuple[Embeddings, Sequence[int]]:
    found = sparse.read_sparse(encoded)
    owners = np.arange(found.shape[0]).repeat(np.diff(found.indptr))
    return found, np.unique(owners[~np.isfinite(found.data)]).tolist()


def _read_tokens(encoded: Sequence[Any]) -> tuple[Embeddings, Sequence[int]]:
    found = [torch.as_tensor(rows) for rows in encoded]
    return found, [row for row, vectors in enumerate(found) if not torch.isfinite(vectors).all()]


_FORMS = {
    SentenceTransformer: _Form(
        dense.SIMILARITIES,
        ("truncate_dim", "precision"),
        50_000,
        lambda embedder, _: {"convert_to_tensor": True, "truncate_dim": embedder.truncate_dim},
        _read_dense,
    ),
    SparseEncoder: _Form(
        sparse.SIMILARITIES,
        ("max_active_dims",),
        50_000,
        lambda embedder, _: {
            "convert_to_tensor": True,
            "convert_to_sparse_tensor": True,
            "save_to_cpu": True,
            "max_active_dims": embedder.max_active_dims,
        },
        _read_sparse,
    ),
    # Documents leave the device, which a corpus of token vectors would fill; each block goes back for its comparison.
    MultiVectorEncoder: _Form(
        tokens.SIMILARITIES, (), 5_000, lambda _, of_documents: {"convert_to_numpy": of_documents}, _read_tokens
    ),
}
