"""Queries with positive and negative documents: pairs, triplets, tuples, and the jsonl of FlagEmbedding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from st_rankloss.data.building import Notes
from st_rankloss.data.columns import as_names, check_column, choose, describe, given_names, numbered_negatives
from st_rankloss.data.document_ids import id_column
from st_rankloss.data.judged import Judgement, collect
from st_rankloss.data.nested import unnest
from st_rankloss.data.part import Part
from st_rankloss.data.scaling import Scale, rescale
from st_rankloss.data.table import Row, Table
from st_rankloss.data.tables import read_table
from st_rankloss.data.texts import read_text
from st_rankloss.labels import is_missing, plain, read_grades, refusal

OF_SIDES = ("pos_scores", "neg_scores")
"""Columns of the scores of positive and of negative documents, as FlagEmbedding names them."""


@dataclass(frozen=True)
class _Columns:
    """The columns of documents and of their scores."""

    query: str
    query_id: str | None
    positive: str
    negatives: tuple[str, ...]
    scores: str | None
    positive_scores: str | None
    negative_scores: str | None
    ids: tuple[str | None, ...]

    @property
    def documents(self) -> tuple[str, ...]:
        """The columns of documents."""
        return (self.positive, *self.negatives)


def read_positives(
    source: Any,
    *,
    query: str | None = None,
    positive: str | None = None,
    negative: str | Sequence[str] | None = None,
    scores: str | bool = True,
    query_id: str | None = None,
    document_id: str | Sequence[str] | None = None,
    scale: Scale = None,
    streaming: bool = False,
) -> Part:
    """Read queries with positive and negative documents: one each, or lists.

    This covers (anchor, positive), with ``negative``, with ``negative_1``, ``negative_2``..., with lists of negatives,
    "triplet" and "n-tuple" of ``mine_hard_negatives``, and FlagEmbedding's ``query``, ``pos`` and ``neg``.

    Args:
        source: A table, see `read_table`.
        query: Column of the queries, or anchors. Like all columns, it is found by its name if None.
        positive: Column of positive documents, one or a list: grade 1.
        negative: Column or columns of negative documents, one or a list: grade 0.
        scores: Whether to use scores as grades, from ``pos_scores`` and ``neg_scores`` or, positive first, from
            ``scores``; or the column of the latter.
        query_id: Column of ids of queries.
        document_id: Columns of ids of documents, one for each column of documents, positive first. If None, they are
            fields of the documents, such as ``docid``, or columns such as ``pos_id``, where there are any.
        scale: How to map scores to grades of at least 0, see `rescale`.
        streaming: Whether to read the file each time; rows of one query must then be neighbours.

    Returns:
        A retrieval part; rows of the same query are merged, and a document that is both positive and negative for it
        is positive.

    Raises:
        ValueError: If a column is missing, or a value is invalid; the error names the source, the column and the row.

    Example:
        >>> part = read_positives({"anchor": ["a", "a"], "positive": ["x", "x"], "negative": ["y", "z"]})
        >>> part.dataset["documents"][0], part.dataset["labels"][0]
        (['x', 'y', 'z'], [1.0, 0.0, 0.0])
    """
    negatives = as_names(negative)
    ids = as_names(document_id)
    text = given_names(query, positive, query_id, *negatives, *ids)
    table = unnest(read_table(source, text=text, streaming=streaming))
    with table.named():
        for role, named in (("negative", negatives), ("document_id", ids)):
            for name in named:
                check_column(name, table.names, role)
        given = {"query": query, "positive": positive, "query_id": query_id}
        optional = ["query_id"] if negatives else ["query_id", "negative"]
        names = choose(table.names, required=["query", "positive"], optional=optional, given=given)
        negatives = negatives or [*given_names(names.get("negative")), *numbered_negatives(table.names)]
        documents = [names["positive"], *negatives]
        if ids and len(ids) != len(documents):
            shown = (", ".join(map(repr, each)) for each in (documents, ids))
            raise ValueError("document_id= must name a column for each of {}, got {}.".format(*shown))
        columns = _Columns(
            names["query"],
            names.get("query_id"),
            names["positive"],
            tuple(negatives),
            **_scores(scores, table.names),
            ids=tuple(ids or [id_column(name, table) for name in documents]),
        )
        notes = Notes((*table.notes, describe(_described(columns), table.names)))
        judgements = partial(_judgements, table, columns, scale)
        return collect(table, judgements, notes, keep_best=not (columns.scores or columns.positive_scores))


def _scores(scores: str | bool, names: Sequence[str]) -> dict[str, Any]:
    """Return the columns of scores, by their field."""
    found: dict[str, Any] = dict.fromkeys(("scores", "positive_scores", "negative_scores"))
    if isinstance(scores, str):
        check_column(scores, names, "scores")
        return found | {"scores": scores}
    if not scores:
        return found
    if OF_SIDES[0] in names:
        return found | {"positive_scores": OF_SIDES[0], "negative_scores": _if_there(OF_SIDES[1], names)}
    return found | {"scores": _if_there("scores", names)}


def _if_there(name: str, names: Sequence[str]) -> str | None:
    return name if name in names else None


def _described(columns: _Columns) -> dict[str, str]:
    named = {"query": columns.query, "query_id": columns.query_id, "positive": columns.positive}
    named |= {f"negative {place}": name for place, name in enumerate(columns.negatives, 1)}
    named |= {"scores": columns.scores, "scores of positives": columns.positive_scores}
    named |= {"scores of negatives": columns.negative_scores}
    named |= {f"ids of {name!r}": own for name, own in zip(columns.documents, columns.ids, strict=True)}
    return {role: name for role, name in named.items() if name is not None}


def _judgements(table: Table, columns: _Columns, scale: Scale, notes: Notes) -> Iterator[Judgement]:
    for place, row in enumerate(table.rows()):
        query = read_text(row[columns.query], place, columns.query)
        positives = _documents(row, place, columns, slice(0, 1))
        negatives = _documents(row, place, columns, slice(1, None))
        if query is None or not positives:
            notes.count(f"rows without a {'positive' if query else 'query'} are left out", f"row {place}")
            continue
        grades = _grades(row, place, columns, scale, (len(positives), len(negatives)))
        query_id = None if columns.query_id is None else row[columns.query_id]
        for (document, document_id), grade in zip(positives + negatives, grades, strict=True):
            if document is None:
                notes.count("documents without a text are left out", f"row {place}")
            else:
                yield Judgement(place, query, document, grade, query_id, document_id)


def _documents(row: Row, place: int, columns: _Columns, sides: slice) -> list[tuple[str | None, Any]]:
    """Return documents and their ids, of columns that each hold one or a list; a missing cell holds none."""
    found: list[tuple[str | None, Any]] = []
    for name, own in zip(columns.documents[sides], columns.ids[sides], strict=True):
        values = _as_list(row[name])
        ids = [None] * len(values) if own is None else _as_list(row[own])
        if len(ids) != len(values):
            rule = f"one id for each of the {len(values)} documents of its row"
            raise refusal(str(own), place, row[str(own)], rule, "complete the row, or remove it")
        found += [(read_text(item, place, name), each) for item, each in zip(values, ids, strict=True)]
    return found


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if is_missing(value) else [value]


def _grades(row: Row, place: int, columns: _Columns, scale: Scale, counts: tuple[int, int]) -> list[float]:
    """Return the grades of the positives and of the negatives of a row: its scores, or 1 and 0."""
    if columns.scores is not None:
        return _read_scores(row, place, columns.scores, scale, sum(counts))
    fixed = ([1.0] * counts[0], [0.0] * counts[1])
    sides = zip((columns.positive_scores, columns.negative_scores), counts, fixed, strict=True)
    grades = [
        default if name is None or not count else _read_scores(row, place, name, scale, count)
        for name, count, default in sides
    ]
    return grades[0] + grades[1]


def _read_scores(row: Row, place: int, column: str, scale: Scale, count: int) -> list[float]:
    value = plain(row[column])
    scores = value if isinstance(value, list) else [value]
    if len(scores) != count:
        remedy = "complete the row, or pass scores=False for grades 1 and 0"
        raise refusal(column, place, value, f"a score for each of the {count} documents of its row", remedy)
    return read_grades(rescale(scores, scale, place, column), place, column)
