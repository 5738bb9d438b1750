"""Judged documents, collected by query: what all readers of retrieval data fill, and how it becomes a part."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from datasets import Features, List, Value

from st_rankloss.data.building import Notes, build
from st_rankloss.data.part import Part
from st_rankloss.data.tables import Row
from st_rankloss.data.texts import text_id
from st_rankloss.judgements import Judgements, read_id
from st_rankloss.labels import is_missing

WEIGHTS = "document_weights"

FEATURES = Features(
    {
        "query": Value("string"),
        "documents": List(Value("string")),
        "labels": List(Value("float64")),
        "query_id": Value("string"),
        "document_ids": List(Value("string")),
    }
)


def features_of(weighted: bool) -> Features:
    """Return the columns of retrieval rows, with or without weights of documents."""
    return Features(FEATURES | {WEIGHTS: List(Value("float64"))}) if weighted else FEATURES


class Judged:
    """Queries, documents, and grades by query and document, in the order in which they come.

    Args:
        weighted: Whether each judgement has a weight.

    Example:
        >>> judged = Judged()
        >>> judged.add(0, "red shoes", "Shoes in red", 3.0, query_id="q1", document_id="d7")
        >>> judged.qrels()
        {'q1': {'d7': 3.0}}
    """

    def __init__(self, weighted: bool = False) -> None:
        self.weighted = weighted
        self.queries: dict[str, str] = {}
        self.corpus: dict[str, str] = {}
        self.grades: dict[str, dict[str, float]] = {}
        self.weights: dict[str, dict[str, float]] = {}

    def add(
        self,
        row: int,
        query: str,
        document: str,
        grade: float,
        *,
        query_id: Any = None,
        document_id: Any = None,
        weight: float = 1.0,
    ) -> None:
        """Add one judgement.

        Args:
            row: Number of the row, for errors.
            query: The query.
            document: The document.
            grade: The grade, or NaN for an unjudged document.
            query_id: Id of the query; None makes one from its text.
            document_id: Id of the document; None makes one from its text.
            weight: Weight of the judgement.

        Raises:
            ValueError: If an id has two texts, or a document two grades for one query; the error names the row.
        """
        query_key = self._name(self.queries, query_id, query, row, "query")
        document_key = self._name(self.corpus, document_id, document, row, "document")
        known = self.grades.setdefault(query_key, {}).setdefault(document_key, grade)
        if known != grade and not (math.isnan(known) and math.isnan(grade)):
            raise ValueError(
                f"a document must have one grade per query, got {known:g} and {grade:g} in row {row} for the query "
                f"{query!r:.80}: keep one of them."
            )
        if self.weighted:
            self.weights.setdefault(query_key, {}).setdefault(document_key, weight)

    def _name(self, texts: dict[str, str], given: Any, text: str, row: int, what: str) -> str:
        key = text_id(text) if is_missing(given) else _row_id(given, row, what)
        if (known := texts.setdefault(key, text)) != text:
            raise ValueError(
                f"an id must belong to one {what}, got {known!r:.60} and {text!r:.60} in row {row} for {key!r}: "
                "correct the id, or leave the column of ids out."
            )
        return key

    def qrels(self) -> Judgements:
        """Return the judgements, without unjudged documents."""
        found = {
            query: {document: grade for document, grade in judged.items() if not math.isnan(grade)}
            for query, judged in self.grades.items()
        }
        return {query: judged for query, judged in found.items() if judged}

    def rows(self) -> Iterator[Row]:
        """Yield one row per query, in the columns of a retrieval part."""
        for query, judged in self.grades.items():
            row = {
                "query": self.queries[query],
                "documents": [self.corpus[document] for document in judged],
                "labels": list(judged.values()),
                "query_id": query,
                "document_ids": list(judged),
            }
            yield row | {WEIGHTS: list(self.weights[query].values())} if self.weighted else row

    def part(self, notes: Notes, source: str, *, corpus: Mapping[str, str] | None = None) -> Part:
        """Return the retrieval part.

        Args:
            notes: What the reader has to say.
            source: Where the rows come from.
            corpus: All documents, if there are more than the judged ones.

        Returns:
            The part.

        Raises:
            ValueError: If no query has a judged document.
        """
        qrels = self.qrels()
        if not qrels:
            raise ValueError("at least one query must have a judged document, got none: check the columns.")
        repeated = len(self.queries) - len(set(self.queries.values()))
        if repeated:
            notes.add(f"queries whose text another query has too, under its own id: {repeated:,}")
        return Part(
            "retrieval",
            build(self.rows, features_of(self.weighted), streaming=False),
            {query: self.queries[query] for query in self.grades},
            self.corpus if corpus is None else corpus,
            qrels,
            notes.all(),
            source,
        )


def _row_id(value: Any, row: int, what: str) -> str:
    if isinstance(value, float) and value.is_integer():  # pandas stores integers with gaps as floats
        value = int(value)
    return read_id(value, f"the id of a {what} in row {row}")


def streaming_part(rows: Any, notes: Notes, source: str, *, weighted: bool = False) -> Part:
    """Return a streaming retrieval part of a function that yields its rows; it has no corpus and no judgements."""
    notes.add("streaming: queries, corpus and judgements by id are left out, since they would fill the memory")
    return Part("retrieval", build(rows, features_of(weighted), streaming=True), notes=notes.all(), source=source)
