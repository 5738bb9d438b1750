"""Rankings of each query's own documents, by a model of any kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from sentence_transformers import CrossEncoder

from st_rankloss._models import EMBEDDERS, unwrapped
from st_rankloss.evaluation.embedding import Embedder, take
from st_rankloss.evaluation.reranking_samples import Sample, content
from st_rankloss.evaluation.search import exact_search
from st_rankloss.judgements import check_inputs, few

Rankings = Iterator[dict[str, float]]


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
        Query id to document id to score in float32, best first; of a CrossEncoder with a sigmoid, the logits.

    Raises:
        TypeError: If the model is of another kind.
        ValueError: If the model does not take an option, cannot encode an input, or a score is not a number.
    """
    model = unwrapped(model)
    if not isinstance(model, kinds := (CrossEncoder, *EMBEDDERS)):
        got = repr(model) if isinstance(model, str | type) else f"a {type(model).__name__}"
        raise TypeError(f"GradedRerankingEvaluator needs a {', a '.join(k.__name__ for k in kinds)}, got {got}.")
    by_pairs = isinstance(model, CrossEncoder)
    chosen = {name: value for name, value in options.items() if value is not None}
    if wrong := [name for name in chosen if (name == "prompt_name") is not by_pairs]:
        remedy = "prompt_name" if by_pairs else "query_prompt_name and corpus_prompt_name"
        raise ValueError(f"{', '.join(wrong)} must be None for a {type(model).__name__}; it takes {remedy}.")
    filled = {query_id: sample for query_id, sample in samples.items() if sample.documents}
    rank = _rank_by_pairs if by_pairs else _rank_by_embeddings
    encoding = {"batch_size": batch_size, "show_progress_bar": show_progress_bar}
    found = rank(model, filled, encoding | chosen) if filled else ()
    by_query = dict(zip(filled, found, strict=True))
    return {query_id: by_query.get(query_id, {}) for query_id in samples}


def _rank_by_pairs(model: CrossEncoder, samples: Mapping[str, Sample], options: Mapping[str, Any]) -> Rankings:
    if model.num_labels != 1:
        raise ValueError(f"a CrossEncoder must have one output to rank by, got num_labels={model.num_labels}.")
    if list(model.modalities) == ["text"]:
        for query_id, sample in samples.items():
            check_inputs([(query_id, sample.query)], "query", "id", text_only=True)
            check_inputs(
                ((query_id, value) for value in sample.documents.values()), "documents", "query", text_only=True
            )
    pairs = _Distinct()
    rows = [[pairs.add((sample.query, value)) for value in sample.documents.values()] for sample in samples.values()]
    if isinstance(model.activation_fn, torch.nn.Sigmoid):  # it keeps the order, but rounds large logits to ties
        options = {**options, "activation_fn": torch.nn.Identity()}
    scores = np.asarray(model.predict([list(pair) for pair in pairs.inputs], **options), dtype=np.float32)
    for (query_id, sample), places in zip(samples.items(), rows, strict=True):
        ids, found = list(sample.documents), scores[places]
        if np.isnan(found).any():
            raise ValueError(
                f"scores must be numbers, got NaN for query {query_id!r}, documents "
                f"{few(ids[row] for row in np.isnan(found).nonzero()[0])}: the model has probably diverged (learning "
                "rate too high) or overflows in float16 (use bfloat16, float32)."
            )
        yield {ids[row]: float(found[row]) for row in np.argsort(-found, kind="stable")}


def _rank_by_embeddings(model: Any, samples: Mapping[str, Sample], options: Mapping[str, Any]) -> Rankings:
    embedder = Embedder(model, **options)
    queries, documents = _Distinct(), _Distinct()
    rows = []
    for query_id, sample in samples.items():
        places = [documents.add(value, f"{query_id}/{name}") for name, value in sample.documents.items()]
        rows.append((queries.add(sample.query, query_id), places))
    embedder.check_inputs(queries.by_name(), "queries")
    embedder.check_inputs(documents.by_name(), "documents")
    query_embeddings = embedder.embed_queries(queries.by_name())
    document_embeddings = embedder.embed_documents(documents.by_name())
    for sample, (query, places) in zip(samples.values(), rows, strict=True):
        ids = list(sample.documents)
        chunks = [take(document_embeddings, places)]
        scores, found = exact_search(take(query_embeddings, [query]), chunks, len(ids), embedder.compared_by)
        yield {ids[row]: score for row, score in zip(found[0].tolist(), scores[0].tolist(), strict=True)}


class _Distinct:
    """Inputs without repetitions, since each is encoded once, and the name under which each was first seen."""

    def __init__(self) -> None:
        self.inputs: list[Any] = []
        self.names: list[str] = []
        self._places: dict[Any, int] = {}

    def add(self, value: Any, name: str = "") -> int:
        """Return the position of an input, which is new or not."""
        place = self._places.setdefault(content(value), len(self.inputs))
        if place == len(self.inputs):
            self.inputs.append(value)
            self.names.append(name)
        return place

    def by_name(self) -> dict[str, Any]:
        """Return inputs by the names of those who first gave them."""
        return dict(zip(self.names, self.inputs, strict=True))
