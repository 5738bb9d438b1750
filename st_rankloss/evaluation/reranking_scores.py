"""Scores of each query's own documents, by a model of any kind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import CrossEncoder, MultiVectorEncoder, SentenceTransformer, SparseEncoder
from torch import Tensor

from st_rankloss._host import _unwrapped
from st_rankloss.evaluation.reranking_samples import Sample, content
from st_rankloss.judgements import check_inputs, few

_PROMPTS = ("query_prompt", "query_prompt_name", "corpus_prompt", "corpus_prompt_name")
_OPTIONS: dict[type, tuple[str, ...]] = {
    CrossEncoder: ("prompt_name",),
    SentenceTransformer: (*_PROMPTS, "truncate_dim"),
    SparseEncoder: (*_PROMPTS, "max_active_dims"),
    MultiVectorEncoder: _PROMPTS,
}
_LAYOUTS: dict[type, dict[str, Any]] = {
    SentenceTransformer: {"convert_to_tensor": True},
    SparseEncoder: {"convert_to_tensor": False, "convert_to_sparse_tensor": True, "save_to_cpu": True},
    MultiVectorEncoder: {},
}


def rank_documents(
    model: Any, samples: Mapping[str, Sample], *, batch_size: int, show_progress_bar: bool, **options: Any
) -> dict[str, dict[str, float]]:
    """Rank the documents of each query by the scores of a model.

    Args:
        model: A CrossEncoder with one output, a SentenceTransformer, a SparseEncoder or a MultiVectorEncoder.
        samples: Query id to query and documents.
        batch_size: Pairs or inputs encoded at a time, at least 1.
        show_progress_bar: Whether to show progress over the batches.
        **options: Prompts and dimensions; None does not set one.

    Returns:
        Query id to document id to score in float32, best first.

    Raises:
        TypeError: If the model is of another kind.
        ValueError: If the model does not take an option, cannot encode an input, or a score is not a number.
    """
    model = _unwrapped(model)
    kind = _kind_of(model)
    chosen = {name: value for name, value in options.items() if value is not None}
    if unknown := [name for name in chosen if name not in _OPTIONS[kind]]:
        raise ValueError(f"a {kind.__name__} takes the options {', '.join(_OPTIONS[kind])}, got {', '.join(unknown)}.")
    _check_modality(model, samples)
    rankings: dict[str, dict[str, float]] = {query_id: {} for query_id in samples}
    filled = {query_id: sample for query_id, sample in samples.items() if sample.documents}
    if filled:
        encoding = {"batch_size": batch_size, "show_progress_bar": show_progress_bar}
        score = _score_pairs if kind is CrossEncoder else _score_embeddings
        scores = score(model, list(filled.values()), chosen, encoding)
        rankings |= {name: _rank(name, sample, next(scores)) for name, sample in filled.items()}
    return rankings


def _kind_of(model: Any) -> type:
    kind = next((kind for kind in _OPTIONS if isinstance(model, kind)), None)
    if kind is None:
        kinds = ", a ".join(kind.__name__ for kind in _OPTIONS)
        got = repr(model) if isinstance(model, str | type) else f"a {type(model).__name__}"
        raise TypeError(f"GradedRerankingEvaluator needs a {kinds}, got {got}.")
    if kind is CrossEncoder and model.num_labels != 1:
        raise ValueError(f"a CrossEncoder must have one output to rank by, got num_labels={model.num_labels}.")
    return kind


def _check_modality(model: Any, samples: Mapping[str, Sample]) -> None:
    """Raise ValueError for an input that a text model cannot encode."""
    if list(model.modalities) == ["text"]:
        queries = ((query_id, sample.query) for query_id, sample in samples.items())
        documents = ((query_id, value) for query_id, sample in samples.items() for value in sample.documents.values())
        check_inputs(queries, "query", "id", text_only=True)
        check_inputs(documents, "documents", "query", text_only=True)


def _score_pairs(
    model: CrossEncoder, samples: list[Sample], options: Mapping[str, Any], encoding: Mapping[str, Any]
) -> Iterator[NDArray[np.float32]]:
    pairs = _Distinct((sample.query, document) for sample in samples for document in sample.documents.values())
    scores = np.asarray(model.predict(pairs.inputs, **encoding, **options), dtype=np.float32)
    for sample in samples:
        yield scores[pairs.places((sample.query, document) for document in sample.documents.values())]


def _score_embeddings(
    model: Any, samples: list[Sample], options: Mapping[str, Any], encoding: Mapping[str, Any]
) -> Iterator[NDArray[np.float32]]:
    queries = _Distinct(sample.query for sample in samples)
    documents = _Distinct(document for sample in samples for document in sample.documents.values())
    layout = _LAYOUTS[_kind_of(model)] | {name: value for name, value in options.items() if name not in _PROMPTS}

    def embed(encode: Callable[..., Any], inputs: list[Any], side: str) -> Any:
        prompt = {name: options.get(f"{side}_{name}") for name in ("prompt", "prompt_name")}
        return encode(inputs, **prompt, **encoding, **layout)

    query_embeddings = embed(model.encode_query, queries.inputs, "query")
    document_embeddings = embed(model.encode_document, documents.inputs, "corpus")
    for sample in samples:
        rows = _take(document_embeddings, documents.places(sample.documents.values()))
        query = _take(query_embeddings, queries.places([sample.query]))
        # In float64, rounded to float32, so that equal embeddings tie wherever they are.
        yield model.similarity(query, rows).float().reshape(-1).cpu().numpy()


class _Distinct:
    """Inputs without repetitions, since each is encoded once."""

    def __init__(self, inputs: Iterable[Any]) -> None:
        distinct = {content(value): value for value in inputs}
        self.inputs = [list(value) if isinstance(value, tuple) else value for value in distinct.values()]
        self._places = {key: place for place, key in enumerate(distinct)}

    def places(self, inputs: Iterable[Any]) -> list[int]:
        """Return the position of each of some inputs."""
        return [self._places[content(value)] for value in inputs]


def _take(embeddings: Tensor | list[Tensor], places: list[int]) -> Tensor | list[Tensor]:
    """Return some embeddings in float64: rows of a matrix, or matrices of tokens."""
    if isinstance(embeddings, Tensor):
        return _exact(embeddings[places])
    taken = [_exact(embeddings[place]) for place in places]
    return torch.stack(taken) if taken[0].is_sparse else taken


def _exact(tensor: Tensor) -> Tensor:
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).double()


def _rank(query_id: str, sample: Sample, scores: NDArray[np.float32]) -> dict[str, float]:
    ids = list(sample.documents)
    if np.isnan(scores).any():
        bad = [name for name, score in zip(ids, scores, strict=True) if np.isnan(score)]
        raise ValueError(
            f"scores must be numbers, got NaN for query {query_id!r}, documents {few(bad)}: the model has probably "
            "diverged (learning rate too high) or overflows in float16 (use bfloat16, float32)."
        )
    return {ids[place]: float(scores[place]) for place in np.argsort(-scores, kind="stable")}
