"""Lists that are grouped already: a query, its documents and their grades in each row."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from st_rankloss.data.building import Notes
from st_rankloss.data.columns import choose, describe, find, given_names, without_description
from st_rankloss.data.document_ids import add_ids
from st_rankloss.data.judged import Judgement, collect, weighted_by
from st_rankloss.data.part import Part
from st_rankloss.data.scaling import Scale, read_weight, rescale
from st_rankloss.data.table import Row, Table
from st_rankloss.data.tables import read_table
from st_rankloss.data.texts import read_text
from st_rankloss.labels import is_missing, plain, read_grades, refusal


def read_lists(
    source: Any,
    *,
    query: str | None = None,
    document: str | None = None,
    grade: str | None = None,
    query_id: str | None = None,
    document_id: str | None = None,
    weight: str | None = None,
    query_weight: str | None = None,
    scale: Scale = None,
    streaming: bool = False,
) -> Part:
    """Read rows of a query, a list of documents and a list of their grades.

    ``mine_hard_negatives(output_format="labeled-list")`` of sentence-transformers writes such rows.

    Args:
        source: A table, see `read_table`.
        query: Column of the queries. Like all columns, it is found by its name if None.
        document: Column of lists of documents: texts, or objects with ``title`` and ``text``.
        grade: Column of lists of grades of at least 0; a missing grade leaves the document unjudged.
        query_id: Column of ids of queries.
        document_id: Column of lists of ids of documents.
        weight: Column of lists of weights of judgements.
        query_weight: Column of weights of queries, a number per row, such as ``weight`` beside ``document_weights``.
        scale: How to map scores to grades of at least 0, see `rescale`.
        streaming: Whether to read the file each time; rows of one query must then be neighbours.

    Returns:
        A retrieval part; rows of the same query are merged.

    Raises:
        ValueError: If a column is missing, or lists of a row differ in length or hold anything else; the error names
            the source, the column and the row.

    Example:
        >>> part = read_lists({"anchor": ["a"], "positive": [["x", "y"]], "labels": [[1, 0]]})
        >>> part.dataset["documents"][0], part.dataset["labels"][0]
        (['x', 'y'], [1.0, 0.0])
    """
    given = {
        "query": query,
        "document": document,
        "grade": grade,
        "query_id": query_id,
        "document_id": document_id,
        "weight": weight,
        "query_weight": query_weight,
    }
    table = read_table(source, text=given_names(query, query_id), streaming=streaming)
    with table.named():
        optional = ["query_id", "document_id", "weight", "query_weight"]
        given["document"] = document or without_description(table.names)
        columns = choose(table.names, required=["query", "document", "grade"], optional=optional, given=given)
        add_ids(columns, table)
        if weight is None and query_weight is None:
            _find_weight_of_row(table, columns)
        notes = Notes((*table.notes, describe(columns, table.names)))
        return collect(table, partial(_judgements, table, columns, scale), notes, weighted=weighted_by(columns))


def _judgements(table: Table, columns: dict[str, str], scale: Scale, notes: Notes) -> Iterator[Judgement]:
    for place, row in enumerate(table.rows()):
        query = read_text(row[columns["query"]], place, columns["query"])
        if query is None:
            notes.count("rows without a query are left out", f"row {place}")
            continue
        if is_missing(row[columns["document"]]) or not (documents := _list(row, place, columns["document"])):
            notes.count("rows without documents are left out", f"row {place}")
            continue
        scores = rescale(_list(row, place, columns["grade"], len(documents)), scale, place, columns["grade"])
        grades = read_grades(scores, place, columns["grade"])
        ids = _list(row, place, columns["document_id"], len(documents)) if "document_id" in columns else [None]
        weights = _weights(row, place, columns.get("weight"), len(documents))
        of_query = read_weight(row, place, columns.get("query_weight"))
        query_id = row[columns["query_id"]] if "query_id" in columns else None
        for at, document in enumerate(documents):
            if (text := read_text(document, place, columns["document"])) is None:
                notes.count("documents without a text are left out", f"row {place}")
                continue
            document_id, weight = ids[at % len(ids)], weights[at % len(weights)]
            yield Judgement(place, query, text, grades[at], query_id, document_id, weight, of_query)


def _find_weight_of_row(table: Table, columns: dict[str, str]) -> None:
    """Let a column of weights that holds a number per row weigh queries."""
    first = next(iter(table.rows()), {})
    found = columns.get("weight"), find("weight", table.names, taken=columns.values())
    for name in found:
        if name is not None and "query_weight" not in columns and not isinstance(plain(first.get(name)), list):
            columns["query_weight"] = name
            if columns.get("weight") == name:
                del columns["weight"]


def _weights(row: Row, place: int, column: str | None, length: int) -> list[float]:
    if column is None:
        return [1.0]
    return [read_weight({column: weight}, place, column) for weight in _list(row, place, column, length)]


def _list(row: Row, place: int, column: str, length: int | None = None) -> list[Any]:
    """Return the list of a row, of a certain length."""
    values = plain(row[column])
    if not isinstance(values, list):
        raise refusal(column, place, values, "a list in each row", "put the value in a list")
    if length is not None and len(values) != length:
        rule = f"one value for each of the {length} documents of its row"
        raise refusal(column, place, values, rule, "complete the row, or remove it")
    return values
