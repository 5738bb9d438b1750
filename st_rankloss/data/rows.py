"""Rows of (query, document, grade): one judgement each; queries repeat."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from st_rankloss.data.building import Notes
from st_rankloss.data.columns import choose, describe, find, given_names
from st_rankloss.data.document_ids import add_ids
from st_rankloss.data.judged import Judgement, collect, weighted_by
from st_rankloss.data.part import Part
from st_rankloss.data.scaling import Scale, check_numbers, read_scaled, read_weight
from st_rankloss.data.table import Table
from st_rankloss.data.tables import read_table
from st_rankloss.data.texts import join_title, read_text


def read_rows(
    source: Any,
    *,
    query: str | None = None,
    document: str | None = None,
    grade: str | None = None,
    query_id: str | None = None,
    document_id: str | None = None,
    weight: str | None = None,
    query_weight: str | None = None,
    title: str | None = None,
    scale: Scale = None,
    streaming: bool = False,
) -> Part:
    """Read rows of a query, a document and its grade, such as a csv file in which queries repeat, as lists per query.

    Args:
        source: A table, see `read_table`.
        query: Column of the queries. Like all columns, it is found by its name if None.
        document: Column of the documents: texts, or objects with ``title`` and ``text``.
        grade: Column of grades of at least 0; a missing grade leaves the document unjudged.
        query_id: Column of ids of queries; without one, equal texts are the same query.
        document_id: Column of ids of documents; without one, equal texts are the same document.
        weight: Column of weights of judgements, at least 0.
        query_weight: Column of weights of queries, at least 0, the same in all rows of a query.
        title: Column of titles of documents, joined to their texts.
        scale: How to map scores to grades of at least 0, see `rescale`.
        streaming: Whether to read the file each time; rows of one query must then be neighbours.

    Returns:
        A retrieval part: one row per query, in the order of the rows.

    Raises:
        ValueError: If a column is missing or holds anything else, or a document has two grades for one query; the
            error names the source, the column and the row, which are counted from 0.

    Example:
        >>> part = read_rows({"query": ["a", "b", "a"], "document": ["x", "y", "z"], "label": [3, 1, 0]})
        >>> [(row["query"], row["documents"], row["labels"]) for row in part.dataset]
        [('a', ['x', 'z'], [3.0, 0.0]), ('b', ['y'], [1.0])]
    """
    table = read_table(source, text=given_names(query, document, query_id, document_id, title), streaming=streaming)
    given = {
        "query": query,
        "document": document,
        "grade": grade,
        "query_id": query_id,
        "document_id": document_id,
        "weight": weight,
        "query_weight": query_weight,
        "title": title,
    }
    with table.named():
        optional = ["query_id", "document_id", "weight", "query_weight", "title"]
        columns = choose(table.names, required=["query", "document", "grade"], optional=optional, given=given)
        add_ids(columns, table)
        check_numbers(table, columns["grade"], scale)
        if weight is None:
            _check_weights(columns, table.names)
        notes = Notes((*table.notes, describe(columns, table.names)))
        return collect(
            table, partial(_judgements, table, columns, scale, title is not None), notes, weighted=weighted_by(columns)
        )


def _judgements(table: Table, columns: dict[str, str], scale: Scale, titled: bool, notes: Notes) -> Iterator[Judgement]:
    """Yield the judgement of each row that has a query and a document; ``titled`` tells if the caller named titles."""
    for place, row in enumerate(table.rows()):
        query = read_text(row[columns["query"]], place, columns["query"])
        document = read_text(row[columns["document"]], place, columns["document"])
        if "title" in columns:
            heading = row[columns["title"]]
            if titled or isinstance(heading, str):  # a column that is only called so may hold anything
                heading = read_text(heading, place, columns["title"])
            document = join_title(heading, document) or None
        if query is None or document is None:
            notes.count(f"rows without a {'query' if query is None else 'document'} are left out", f"row {place}")
            continue
        grade = read_scaled(row[columns["grade"]], scale, place, columns["grade"])
        ids = {role: row[columns[role]] for role in ("query_id", "document_id") if role in columns}
        weights = {role: read_weight(row, place, columns.get(role)) for role in ("weight", "query_weight")}
        yield Judgement(place, query, document, grade, **ids, **weights)


def _check_weights(columns: dict[str, str], names: Sequence[str]) -> None:
    """Raise ValueError if two columns weigh the document of a row."""
    if (other := find("weight", names, taken=columns.values())) is not None:
        raise ValueError(
            f"weights of documents must be in one column, got {columns['weight']!r} and {other!r}: pass weight= with "
            "one of them, and query_weight= with the other if it weighs queries."
        )
