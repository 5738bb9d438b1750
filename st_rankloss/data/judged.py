"""Judged documents, collected by query: what all readers of retrieval data fill, and how it becomes a part."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple

from datasets import Features, List, Value

from st_rankloss.data.building import Notes, build
from st_rankloss.data.part import Part
from st_rankloss.data.table import Row, Table
from st_rankloss.data.texts import text_id
from st_rankloss.judgements import Judgements, read_id
from st_rankloss.labels import is_missing

WEIGHTS, QUERY_WEIGHT = "document_weights", "query_weight"

FEATURES = Features(
    {
        "query": Value("string"),
        "documents": List(Value("string")),
        "labels": List(Value("float64")),
        "query_id": Value("string"),
        "document_ids": List(Value("string")),
    }
)


_OF_WEIGHTS = {WEIGHTS: List(Value("float64")), QUERY_WEIGHT: Value("float64")}


def features_of(weighted: Collection[str]) -> Features:
    """Return the columns of retrieval rows, with some of the columns of weights."""
    return Features(FEATURES | {name: _OF_WEIGHTS[name] for name in weighted})


class Judgement(NamedTuple):
    """One row of a query, a document and its grade."""

    row: int
    query: str
    document: str
    grade: float
    query_id: Any = None
    document_id: Any = None
    weight: float = 1.0
    query_weight: float = 1.0

    @property
    def key(self) -> Any:
        """What tells the query from others."""
        return text_id(self.query) if is_missing(self.query_id) else self.query_id


class Judged:
    """Queries, documents, and grades by query and document, in the order in which they come.

    Args:
        weighted: The columns of weights to fill, among ``"document_weights"`` and ``"query_weight"``.
        keep_best: Where to note documents with two grades for one query, of which the best counts; None refuses them.

    Example:
        >>> judged = Judged()
        >>> judged.add(Judgement(0, "red shoes", "Shoes in red", 3.0, query_id="q1", document_id="d7"))
        >>> judged.qrels()
        {'q1': {'d7': 3.0}}
    """

    def __init__(self, weighted: Collection[str] = (), keep_best: Notes | None = None) -> None:
        self.weighted = weighted
        self.keep_best = keep_best
        self.queries: dict[str, str] = {}
        self.corpus: dict[str, str] = {}
        self.grades: dict[str, dict[str, float]] = {}
        self.weights: dict[str, dict[str, float]] = {}
        self.query_weights: dict[str, float] = {}

    def add(self, judgement: Judgement) -> None:
        """Add one judgement.

        Args:
            judgement: The judgement.

        Raises:
            ValueError: If an id has two texts, a query two weights, or a document two grades for one query; the error
                names the row.
        """
        row, grade = judgement.row, judgement.grade
        query = self._name(self.queries, judgement.query_id, judgement.query, row, "query")
        document = self._name(self.corpus, judgement.document_id, judgement.document, row, "document")
        judged = self.grades.setdefault(query, {})
        known = judged.setdefault(document, grade)
        if known != grade and not (math.isnan(known) and math.isnan(grade)):
            if self.keep_best is None:
                raise ValueError(
                    f"a document must have one grade per query, got {known:g} and {grade:g} in row {row} for the query "
                    f"{judgement.query!r:.80}: keep one of them."
                )
            self.keep_best.count("documents that are both positive and negative for a query are positive", f"row {row}")
            judged[document] = max(known, grade)
        self.weights.setdefault(query, {}).setdefault(document, judgement.weight)
        if (weight := self.query_weights.setdefault(query, judgement.query_weight)) != judgement.query_weight:
            raise ValueError(
                f"a query must have one weight, got {weight:g} and {judgement.query_weight:g} in row {row} for "
                f"{judgement.query!r:.80}: keep one of them, or pass weight= if they weigh documents."
            )

    def _name(self, texts: dict[str, str], given: Any, text: str, row: int, what: str) -> str:
        key = text_id(text) if given is None or is_missing(given) else _row_id(given, row, what)
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
            weights = {WEIGHTS: list(self.weights.get(query, {}).values()), QUERY_WEIGHT: self.query_weights.get(query)}
            yield row | {name: weights[name] for name in self.weighted}

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


def collect(
    table: Table,
    judgements: Callable[[Notes], Iterator[Judgement]],
    notes: Notes,
    *,
    weighted: Collection[str] = (),
    keep_best: bool = False,
) -> Part:
    """Collect judgements to a retrieval part.

    Args:
        table: The table that they come from.
        judgements: A function that yields them; it gets the notes to count in, and must be picklable if streaming.
        notes: Notes of the reader.
        weighted: As in `Judged`.
        keep_best: As in `Judged`.

    Returns:
        The part; if the table is streaming, its rows only: queries, corpus and judgements would fill the memory.

    Raises:
        ValueError: If judgements contradict each other, or there are none.
    """
    if not table.streaming:
        judged = Judged(weighted, notes if keep_best else None)
        for judgement in judgements(notes):
            judged.add(judgement)
        return judged.part(notes, table.source)
    notes.add("streaming: rows without a query or a document are left out; queries, corpus and judgements are not kept")
    rows = partial(_stream, table, judgements, weighted, keep_best)
    dataset = build(rows, features_of(weighted), streaming=True)
    return Part("retrieval", dataset, notes=notes.all(), source=table.source)


def _stream(
    table: Table, judgements: Callable[[Notes], Iterator[Judgement]], weighted: Collection[str], keep_best: bool
) -> Iterator[Row]:
    """Yield one row per run of rows of the same query; refuse a query that comes back later."""
    seen: set[Any] = set()
    with table.named():
        for key, group in groupby(judgements(Notes()), lambda judgement: judgement.key):
            judged = Judged(weighted, Notes() if keep_best else None)
            for judgement in group:
                if key in seen:
                    raise ValueError(
                        f"rows of one query must be neighbours if streaming, got {judgement.query!r:.80} again in row "
                        f"{judgement.row}: sort the file by query, or read it without streaming."
                    )
                judged.add(judgement)
            seen.add(key)
            yield from judged.rows()


def weighted_by(columns: Collection[str]) -> list[str]:
    """Return the columns of weights to fill from columns by role."""
    return [name for role, name in (("weight", WEIGHTS), ("query_weight", QUERY_WEIGHT)) if role in columns]
