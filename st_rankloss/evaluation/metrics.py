"""Metrics of rankings by graded judgements, as trec_eval defines them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from numbers import Real
from typing import Any

import numpy as np

from st_rankloss._extras import require
from st_rankloss.judgements import by_id, read_id

_PYTREC_NAMES = {"map": "map_cut", "recall": "recall", "accuracy": "success", "precision": "P"}


def score_rankings(
    rankings: Mapping[str, Sequence[str]],
    qrels: Mapping[str, Mapping[str, float]],
    columns: Sequence[tuple[str, int]],
    relevance_level: float,
) -> dict[str, dict[str, float]]:
    """Score rankings, query by query.

    Args:
        rankings: Query id to distinct document ids, best first; each query is judged.
        qrels: Query id to document id to grade, at least 0.
        columns: Metrics, "ndcg", "mrr", "map", "recall", "precision" or "accuracy", and their cutoffs, at least 1.
        relevance_level: Lowest grade that counts as relevant in every metric but nDCG, which has linear gain.

    Returns:
        Query id to metric ("ndcg@10") to value in [0, 1].

    Raises:
        ImportError: If pytrec_eval is not installed.

    Example:
        >>> score_rankings({"q": ["a", "b"]}, {"q": {"a": 0.2, "b": 1}}, [("mrr", 10), ("precision", 2)], 1)
        {'q': {'mrr@10': 0.5, 'precision@2': 0.5}}
    """
    judged, run = {}, {}
    for place, (query_id, order) in enumerate(rankings.items()):  # pytrec_eval gets numbers: it reads ids up to a NUL
        numbers = {document: str(i) for i, document in enumerate(dict.fromkeys([*order, *qrels[query_id]]))}
        judged[str(place)] = {numbers[d]: int(grade >= relevance_level) for d, grade in qrels[query_id].items()}
        run[str(place)] = {numbers[document]: -float(i) for i, document in enumerate(order)}
    measures = {_pytrec_name(metric, k) for metric, k in columns if metric != "ndcg"}
    found = require_pytrec_eval().RelevanceEvaluator(judged, measures).evaluate(run)
    return {
        query_id: {
            f"{metric}@{k}": trec_ndcg(rankings[query_id], qrels[query_id], k)
            if metric == "ndcg"
            else _read(values, metric, k)
            for metric, k in columns
        }
        for query_id, values in zip(rankings, map(found.__getitem__, run), strict=True)
    }


def mean_metrics(per_query: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Average metrics over queries, exactly, so that the order of the queries does not matter.

    Args:
        per_query: Query id to metric to value, as returned by ``compute_metrics``; at least one query.

    Returns:
        Metric to mean.

    Example:
        >>> mean_metrics({"q1": {"ndcg@10": 0.5}, "q2": {"ndcg@10": 1.0}})
        {'ndcg@10': 0.7500}
    """
    rows = list(per_query.values())
    return {metric: math.fsum(row[metric] for row in rows) / len(rows) for metric in rows[0]}


def trec_ndcg(ranking: Sequence[str], grades: Mapping[str, float], k: int) -> float:
    """Compute nDCG@k as trec_eval does, for any grades.

    Args:
        ranking: Distinct document ids, best first.
        grades: Grades of all judged documents, at least 0; other documents have 0.
        k: Cutoff, at least 1.

    Returns:
        Sum of grade / log2(1 + rank), divided by its maximum over rankings of the judged documents; 0 if that is 0.

    Example:
        >>> trec_ndcg(["a", "b"], {"b": 0.5}, k=10) == 1 / math.log2(3)
        True
    """
    largest = max(grades.values(), default=0.0)
    if not largest:
        return 0.0
    found = _dcg([grades.get(document, 0.0) / largest for document in ranking[:k]])
    return found / _dcg(sorted((grade / largest for grade in grades.values()), reverse=True)[:k])


def _dcg(gains: Sequence[float]) -> float:
    return math.fsum(gain / math.log2(rank) for rank, gain in enumerate(gains, start=2))


def by_query(rankings: Any) -> dict[str, Any]:
    """Return rankings by query id, as strings; raise ValueError unless they are a dict whose ids differ."""
    if not isinstance(rankings, Mapping) or not rankings:
        kind = "an empty dict" if isinstance(rankings, Mapping) else type(rankings).__name__
        raise ValueError(f"rankings must be a non-empty dict of query id to ranking, got {kind}.")
    return dict(by_id(rankings, "a query id in rankings"))


def order_documents(query_id: str, ranking: Sequence[str] | Mapping[str, float]) -> list[str]:
    """Return the documents of a ranking, best first; float32 ties put the last id first, as in trec_eval."""
    where = f"rankings[{query_id!r}]"
    if isinstance(ranking, (str, bytes, Set)) or not hasattr(ranking, "__iter__"):
        raise ValueError(f"{where} must be a list of document ids or a dict of scores, got {type(ranking).__name__}.")
    ids = [read_id(document, f"a document id in {where}") for document in ranking]
    if len(set(ids)) < len(ids):
        twice = next(document for i, document in enumerate(ids) if document in ids[:i])
        raise ValueError(f"{where} must name each document once, got {twice!r} twice.")
    if not isinstance(ranking, Mapping):
        return ids
    scores = dict(zip(ids, ranking.values(), strict=True))
    for document, score in scores.items():
        if not isinstance(score, Real) or math.isnan(score):
            raise ValueError(f"a score in rankings must be a number, got {score!r} for {query_id!r}, {document!r}.")
    return sorted(ids, key=lambda document: (np.float32(scores[document]), document), reverse=True)


def _pytrec_name(metric: str, k: int) -> str:
    """Name a metric as pytrec_eval does; its reciprocal rank has no cutoff."""
    return "recip_rank" if metric == "mrr" else f"{_PYTREC_NAMES[metric]}_{k}"


def _read(values: Mapping[str, float], metric: str, k: int) -> float:
    """Read a metric from pytrec_eval's values of one query, and cut the reciprocal rank at k."""
    value = float(values[_pytrec_name(metric, k)])
    return 0.0 if metric == "mrr" and value < 1 / k else value


def require_pytrec_eval() -> Any:
    """Import pytrec_eval, or raise an ImportError that names the extra that installs it."""
    return require("pytrec_eval", "metrics", purpose="graded evaluators")
