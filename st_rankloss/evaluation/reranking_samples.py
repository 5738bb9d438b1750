"""Queries with the documents to rerank and their grades: from rows, or from the rankings of a first stage."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from st_rankloss._host import is_message_dict
from st_rankloss.collators import id_names, list_columns, weight_columns
from st_rankloss.collators.inputs import read_list, same_columns
from st_rankloss.encoding import read_list_grades
from st_rankloss.evaluation.metrics import by_query, order_documents
from st_rankloss.judgements import by_id, check_inputs, few, read_id, read_inputs, read_qrels
from st_rankloss.labels import LABEL_COLUMNS, is_missing, plain, refusal

logger = logging.getLogger(__name__)

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Sample:
    """A query, the documents to rank for it and its judgements."""

    query: Any
    documents: dict[str, Any]
    """Documents by id, in the order in which they are ranked if their scores are equal."""
    grades: dict[str, float]
    """Grades of all judged documents by id, including those that are not ranked."""
    order: list[str] | None = None
    """Ids in the ranking of the first stage, if there is one."""


def read_samples(samples: Any, *, always_rerank_positives: bool = True) -> dict[str, Sample]:
    """Read a dataset or a list of dicts, one per query.

    Args:
        samples: Rows with a query, a list of documents and a list of grades; or rows of sentence-transformers'
            reranking evaluators, with ``query``, ``positive`` and either ``negative`` or ``documents``.
        always_rerank_positives: Whether to rank positives that are missing from ``documents``.

    Returns:
        Samples by query id, or by row number if there are no ids.

    Raises:
        ValueError: If a column is missing or a value is invalid; the error names the column and the row.

    Example:
        >>> rows = [{"query": "red", "documents": ["rose", "grass"], "labels": [2, None]}]
        >>> read_samples(rows)["0"]
        Sample(query='red', documents={'1': 'grass', '0': 'rose'}, grades={'0': 2.0}, order=None)
    """
    if isinstance(samples, Mapping) and all(isinstance(sample, Sample) for sample in samples.values()) and samples:
        return dict(samples)
    rows = _read_rows(samples)
    if isinstance(samples, Mapping) and not {*id_names("query")} & {*rows[0]}:
        rows = [
            {**row, "query_id": key} for row, (key, _) in zip(rows, by_id(samples, "a key of samples"), strict=True)
        ]
    if "positive" in rows[0]:
        return _read_positives(rows, always_rerank_positives)
    columns = _find_columns(rows)
    return _by_id(rows, columns.query_id, [_read_graded(row, place, columns) for place, row in enumerate(rows)])


def read_rankings(queries: Any, corpus: Any, qrels: Any, rankings: Any, depth: int) -> dict[str, Sample]:
    """Read the best documents of each query in the rankings of a first stage.

    Args:
        queries: Query id to query.
        corpus: Document id to document.
        qrels: Query id to document id to grade.
        rankings: Query id to document ids, best first, or to document id to score, higher is better.
        depth: Documents per query, at least 1.

    Returns:
        Samples by query id, each with all judgements of its query.

    Raises:
        ValueError: If an id is unknown or a value is invalid.

    Example:
        >>> queries, corpus, qrels = {"q": "red"}, {"a": "rose", "b": "sky"}, {"q": {"a": 2}}
        >>> read_rankings(queries, corpus, qrels, {"q": ["b", "a"]}, depth=1)["q"]
        Sample(query='red', documents={'b': 'sky'}, grades={'a': 2.0}, order=['b'])
    """
    queries, corpus = read_inputs(queries, "queries"), read_inputs(corpus, "corpus")
    judged = read_qrels(qrels, queries=queries, corpus=corpus)
    given = by_query(rankings)
    if given.keys().isdisjoint(queries):
        raise ValueError(f"rankings must name ids of queries, got the unknown {few(given)}.")
    if missing := [query_id for query_id in judged if query_id not in given]:
        logger.warning("%d judged queries have no ranking and score 0: %s", len(missing), few(missing))
    found = {}
    for query_id, query in queries.items():
        order = order_documents(query_id, given.get(query_id, ()))[:depth]
        if unknown := [document for document in order if document not in corpus]:
            raise ValueError(f"rankings must name ids of corpus, got the unknown {few(unknown)} for {query_id!r}.")
        documents = {document: corpus[document] for document in sorted(order, reverse=True)}
        found[query_id] = Sample(query, documents, judged.get(query_id, {}), order)
    return found


def content(value: Any) -> Any:
    """Return a key that equal inputs share: of a text the text, of an image or an array a digest of its numbers.

    Args:
        value: A query or a document.

    Returns:
        A hashable key, valid as long as ``value`` exists.

    Example:
        >>> content("red"), content({"text": "red"})
        ('red', (('text', 'red'),))
    """
    if isinstance(value, str | int | float | None):
        return value
    if isinstance(value, Mapping):
        return tuple((key, content(item)) for key, item in value.items())
    if isinstance(value, list | tuple):
        return tuple(content(item) for item in value)
    if hasattr(value, "detach"):  # a tensor
        value = value.detach().cpu().numpy()
    if not hasattr(value, "tobytes"):
        return "identity", id(value)
    form = (value.mode, value.size) if hasattr(value, "mode") else (str(value.dtype), value.shape)
    return (*form, hashlib.sha256(value.tobytes()).digest())


class _Columns(NamedTuple):
    query: str
    documents: str
    grades: str
    query_id: str | None
    document_ids: str | None


def _read_rows(samples: Any) -> list[Row]:
    """Return the rows, all with the same columns, or raise ValueError."""
    samples = list(samples.values()) if isinstance(samples, Mapping) else samples
    rows = list(samples) if isinstance(samples, Iterable) and not isinstance(samples, str | bytes) else []
    if not rows:
        kind = "an empty " * (isinstance(samples, Sized) and not len(samples)) + type(samples).__name__
        raise ValueError(f"samples must be a dataset or a non-empty list of dicts, one per query, got {kind}.")
    for place, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise ValueError(
                f"each of samples must be a dict with the columns of a query, got {type(row).__name__} in row {place}: "
                "for a table use datasets.Dataset.from_dict, from_list or from_pandas."
            )
    return list(same_columns([dict(row) for row in rows]))


def _find_columns(rows: list[Row]) -> _Columns:
    """Find the columns of rows with graded documents, or raise ValueError."""
    names = [name for name in rows[0] if name != "dataset_name"]
    grades = [name for name in LABEL_COLUMNS if name in names]
    if len(grades) != 1:
        raise ValueError(
            f"samples must have one column of grades, named one of {LABEL_COLUMNS}, or a column 'positive', got "
            f"{grades or names}: {'drop the others' if grades else 'rename the column of grades'}."
        )
    weights = weight_columns(names, LABEL_COLUMNS)
    if weights:
        logger.warning("The weights in %s are not used: every query counts the same.", list(weights))
    ids = {column: name for column in names for name in id_names(column) if name in names}
    inputs = [name for name in names if name not in {*grades, *weights, *ids.values()}]
    lists = list_columns([{name: row[name] for name in inputs} for row in rows])
    if len(inputs) != 2 or len(lists) != 1:
        raise ValueError(
            "samples must have one column of queries and one of lists of documents, besides grades and ids, got the "
            f"columns {inputs}, of which {lists} hold lists: keep two of them, and name ids 'query_id' and "
            "'document_ids'."
        )
    (query,) = set(inputs) - set(lists)
    return _Columns(query, lists[0], grades[0], ids.get(query), ids.get(lists[0]))


def _read_graded(row: Row, place: int, columns: _Columns) -> Sample:
    documents = read_list(row[columns.documents], place, columns.documents)
    grades = read_list_grades(row[columns.grades], place, columns.grades, len(documents))
    if columns.document_ids is None:
        ids = [str(position) for position in range(len(documents))]
        order = ids[::-1]
    else:
        ids = _read_ids(row[columns.document_ids], place, columns.document_ids, len(documents))
        order = sorted(ids, reverse=True)
    check_inputs([(place, row[columns.query])], columns.query, "row")
    by_id = dict(zip(ids, documents, strict=True))
    judged = {name: grade for name, grade in zip(ids, grades, strict=True) if not is_missing(grade)}
    return Sample(row[columns.query], {name: by_id[name] for name in order}, judged)


def _read_ids(value: Any, place: int, column: str, count: int) -> list[str]:
    given = plain(value)
    given = given if isinstance(given, list) else [given]
    ids = [read_id(name, f"an id in column {column!r}, row {place},") for name in given]
    if len(ids) != count or len(set(ids)) < count:
        raise refusal(column, place, value, f"{count} different ids, one per document", "correct the row")
    return ids


def _by_id(rows: Sequence[Row], column: str | None, samples: Sequence[Sample]) -> dict[str, Sample]:
    """Return samples by the ids in a column, or by row number."""
    if column is None:
        return {str(place): sample for place, sample in enumerate(samples)}
    found: dict[str, Sample] = {}
    for place, (row, sample) in enumerate(zip(rows, samples, strict=True)):
        query_id = read_id(row[column], f"an id in column {column!r}, row {place},")
        if query_id in found:
            raise refusal(column, place, query_id, "a different id in each row", "join the documents of the query")
        found[query_id] = sample
    return found


def _read_positives(rows: list[Row], always_rerank_positives: bool) -> dict[str, Sample]:
    """Read rows in the format of sentence-transformers' reranking evaluators."""
    others = [name for name in ("negative", "documents") if name in rows[0]]
    if "query" not in rows[0] or len(others) != 1:
        raise ValueError(
            "samples with a column 'positive' must also have 'query' and either 'negative' or 'documents', got "
            f"{list(rows[0])}."
        )
    query_id = next((name for name in id_names("query") if name in rows[0]), None)
    if unused := [name for name in rows[0] if name not in {"query", "positive", *others, query_id}]:
        logger.warning("The columns %s of samples are not used.", unused)
    repeated = 0
    samples = []
    for place, row in enumerate(rows):
        check_inputs([(place, row["query"])], "query", "row")
        positives, rest = (_read_side(row[name], place, name) for name in ("positive", *others))
        samples.append(_judge(row["query"], positives, rest, others[0] == "documents", always_rerank_positives))
        repeated += _count_repeated(positives, rest, others[0] == "negative")
    if repeated:
        logger.warning("%d documents are given twice for a query: each is ranked once, positive if it is.", repeated)
    return _by_id(rows, query_id, samples)


def _read_side(value: Any, place: int, column: str) -> list[Any]:
    """Return the positives or the negatives of a row, of which it holds one or a list."""
    value = value.tolist() if isinstance(value, np.ndarray) else value
    is_list = isinstance(value, list | tuple) and not (value and is_message_dict(value[0]))
    documents = list(value) if is_list else [] if is_missing(value) else [value]
    check_inputs(((place, document) for document in documents), column, "row")
    return documents


def _judge(query: Any, positives: list[Any], others: list[Any], ordered: bool, rerank_all: bool) -> Sample:
    """Grade positives 1 and other documents 0; tied documents are ranked with positives last."""
    relevant = {content(document) for document in positives}
    given = {content(document): document for document in others}
    known = {content(document): document for document in positives} | given
    ids = {key: str(place) for place, key in enumerate(known)}
    ranked = known if rerank_all or not ordered else given
    documents = {ids[key]: known[key] for key in reversed(known) if key in ranked}
    grades = {ids[key]: float(key in relevant) for key in known}
    return Sample(query, documents, grades, [ids[key] for key in given] if ordered else None)


def _count_repeated(positives: list[Any], others: list[Any], apart: bool) -> int:
    """Count documents that are given twice; with ``apart``, positives must not be among the others either."""
    left, right = {content(document) for document in positives}, {content(document) for document in others}
    return len(positives) - len(left) + len(others) - len(right) + (len(left & right) if apart else 0)
