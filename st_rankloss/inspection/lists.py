"""Checks of queries, documents, their grades and judgements by id."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow.compute as pc

from st_rankloss.inspection.columns import Flat, Keys, Look, Mask, mix
from st_rankloss.inspection.findings import Finding, check, in_conflict, report, shorten
from st_rankloss.judgements import few

_SAMPLE = 2_000
_MOST_GRADES = 20
_LONGER = 3.0
"""How many times longer than its documents a query must be to look swapped."""


@check("retrieval")
def swapped_columns(look: Look) -> Iterator[Finding]:
    """Find queries that are much longer than their documents."""
    queries, documents = look.columns.get("query"), look.documents
    if queries is None or documents is None or not (queries.is_text and documents.is_text and len(documents)):
        return
    query, document = (float(np.median(_lengths(flat))) for flat in (queries, documents))
    if query > max(40, _LONGER * document):
        message = (
            f"Queries have {query:,.0f} characters, their documents {document:,.0f} (medians): the columns 'query' and "
            f"{documents.column!r} seem swapped. Swap them with dataset.rename_columns."
        )
        yield Finding(
            "swapped columns", "warning", message, look.name, "query", len(queries), 0, shorten(queries.example(0))
        )


def _lengths(flat: Flat) -> Any:
    return pc.fill_null(pc.utf8_length(flat.values.slice(0, 100_000)), 0).to_numpy()


@check("retrieval")
def ungrouped_rows(look: Look) -> Iterator[Finding]:
    """Find rows of single documents whose query repeats, and lists of one query in several rows."""
    queries = look.columns.get("query")
    if queries is None or queries.distinct == len(queries):
        return
    again = np.bincount(queries.codes + 1)[queries.codes + 1] > 1
    if "documents" in look.columns:
        remedy = "The sampler keeps them in separate batches; merging their lists is better."
        yield from report(look, queries, again, "repeated queries", "note", "belong to several rows", remedy)
    else:
        remedy = (
            "Group the rows with st_rankloss.data.group_into_lists: in a batch, other rows' documents are irrelevant."
        )
        yield from report(look, queries, again, "ungrouped rows", "warning", "belong to several rows", remedy)


@check("retrieval")
def misaligned_lists(look: Look) -> Iterator[Finding]:
    """Find rows without one grade per document, and empty lists."""
    documents, grades = look.columns.get("documents"), look.labels
    if documents is None or documents.sizes is None:
        return
    queries = Flat("documents", documents.values, np.arange(look.rows), documents.sizes)
    empty = documents.sizes == 0
    yield from _rows(look, queries, empty, "empty lists", "have no documents", "Leave these rows out.")
    if grades is not None and grades.sizes is not None:
        unequal = (grades.sizes != documents.sizes) & ~np.isin(np.arange(look.rows), grades.absent)
        what = "have more or fewer grades than documents"
        yield from _rows(look, queries, unequal, "misaligned lists", what, "Give one grade per document, or None.")


def _rows(look: Look, flat: Flat, mask: Mask, name: str, what: str, remedy: str) -> Iterator[Finding]:
    if mask.any():
        row = int(mask.argmax())
        message = f"{mask.sum():,} of {len(mask):,} rows {what}, such as row {row}. {remedy}"
        yield Finding(name, "error", message, look.name, flat.column, int(mask.sum()), row)


@check("retrieval")
def short_lists(look: Look) -> Iterator[Finding]:
    """Find lists of a single document."""
    documents = look.columns.get("documents")
    if documents is None or documents.sizes is None or not len(documents.sizes):
        return
    single = int((documents.sizes == 1).sum())
    if single > look.rows / 2:
        row = int((documents.sizes == 1).argmax())
        message = (
            f"{single:,} of {look.rows:,} lists have one document, such as row {row}: their query only ranks it "
            "against "
            "other queries' documents. Add judged documents, or mine some with st_rankloss.mining."
        )
        yield Finding("lists of one document", "note", message, look.name, "documents", single, row)


@check("retrieval")
def nothing_relevant(look: Look) -> Iterator[Finding]:
    """Find queries without a relevant document."""
    grades = look.labels
    if grades is None or not grades.is_number or "document" in look.columns:
        return
    most = grades.most_per_row(grades.numbers)
    none = ~(most > 0)
    row = int(none.argmax())
    if none.any():
        message = (
            f"{none.sum():,} of {look.rows:,} queries have no relevant document, such as row {row}: they have "
            "nothing to "
            "learn from. Leave them out with dataset.filter, or judge more of their documents."
        )
        severity = "warning" if none.mean() > 0.05 else "note"
        yield Finding(
            "queries without relevant document", severity, message, look.name, grades.column, int(none.sum()), row
        )


@check("retrieval")
def equal_grades(look: Look) -> Iterator[Finding]:
    """Find lists of several documents that all have one grade."""
    grades = look.labels
    if grades is None or not grades.is_number or grades.sizes is None:
        return
    numbers = grades.numbers
    most, least = grades.most_per_row(numbers), -grades.most_per_row(-numbers)
    several = grades.sizes > 1
    equal = several & (most == least)
    if several.any() and equal.sum() == several.sum():
        row = int(equal.argmax())
        message = (
            f"All {equal.sum():,} lists of several documents have equal grades, such as {most[row]:g} in row {row}: "
            "a query "
            "learns no order among its own documents. Keep the grades that were given, or add judged negatives."
        )
        yield Finding(
            "equal grades", "warning", message, look.name, grades.column, int(equal.sum()), row, float(most[row])
        )


@check("retrieval")
def nothing_irrelevant(look: Look) -> Iterator[Finding]:
    """Find whole grades, several of them, of which none is 0."""
    grades = look.labels
    if grades is None or not grades.is_number:
        return
    values = np.unique(grades.numbers[np.isfinite(grades.numbers)])
    if not 1 < len(values) <= _MOST_GRADES or values[0] <= 0 or (values % 1).any():
        return
    scale = ", ".join(f"{value:g}: {value - values[0]:g}" for value in values)
    message = (
        f"The lowest grade in {grades.column!r} is {values[0]:g}, so every judged document counts as relevant. If "
        f"{values[0]:g} means irrelevant, read the data with scale={{{scale}}}."
    )
    first = int((grades.numbers == values[0]).argmax())
    count = int(np.isfinite(grades.numbers).sum())
    yield Finding(
        "no irrelevant grade",
        "warning",
        message,
        look.name,
        grades.column,
        count,
        int(grades.rows[first]),
        float(values[0]),
    )


@check("retrieval")
def conflicting_grades(look: Look) -> Iterator[Finding]:
    """Find documents with two grades for one query; among them, negatives that equal a relevant document."""
    documents, grades = look.documents, look.labels
    keys = pair_keys(look)
    if keys is None or documents is None or grades is None or not grades.is_number or len(grades) != len(keys):
        return
    numbers = grades.numbers
    judged = ~np.isnan(numbers)
    both = np.zeros(len(keys), dtype=bool)
    both[judged] = in_conflict(keys[judged], numbers[judged] > 0)
    any_ = np.zeros(len(keys), dtype=bool)
    any_[judged] = in_conflict(keys[judged], numbers[judged])
    what = "are both relevant and irrelevant to one query"
    remedy = "Leave the irrelevant copy out: it is a false negative."
    severity = "warning" if _are_copies(look, documents, both) else "error"
    yield from report(look, documents, both, "negatives equal to a positive", severity, what, remedy)
    remedy = "Keep one grade, and one id if they have two."
    what = "have two grades for one query"
    severity = "warning" if _are_copies(look, documents, any_) else "error"
    yield from report(look, documents, any_ & ~both, "conflicting grades", severity, what, remedy)


def _are_copies(look: Look, documents: Flat, conflict: Mask) -> bool:
    """Return whether documents with two grades have several ids, each with one grade."""
    ids = look.ids_of(documents.column)
    if ids is None or len(ids) != len(documents) or look.labels is None:
        return False
    keys = mix(look.columns["query"].codes[documents.rows], ids.codes)[conflict]
    return not in_conflict(keys, look.labels.numbers[conflict]).any()


def pair_keys(look: Look) -> Keys | None:
    """A hash of query and document for each document; None without them."""
    queries, documents = look.columns.get("query"), look.documents
    if queries is None or documents is None:
        return None
    return mix(queries.codes[documents.rows], documents.codes)


@check("retrieval")
def queries_inside_documents(look: Look) -> Iterator[Finding]:
    """Find queries that most of their relevant documents quote."""
    queries, documents, grades = look.columns.get("query"), look.documents, look.labels
    if queries is None or documents is None or not (queries.is_text and documents.is_text):
        return
    relevant = np.ones(len(documents), dtype=bool)
    if grades is not None and grades.is_number and len(grades) == len(documents):
        relevant = grades.numbers > 0
    items = np.flatnonzero(relevant)
    items = items[:: max(1, len(items) // _SAMPLE)][:_SAMPLE]
    rows = documents.rows[items]
    pairs = zip(queries.values.take(rows).to_pylist(), documents.values.take(items).to_pylist(), strict=True)
    quoted = np.array([_quotes(query, document) for query, document in pairs], dtype=bool)
    if quoted.sum() > len(items) / 2:
        row = int(rows[quoted.argmax()])
        message = (
            f"{quoted.sum():,} of {len(items):,} relevant documents looked at contain their query word for word, "
            "such as "
            f"{shorten(queries.example(row))!r} in row {row}: the model would learn to match strings. Remove the "
            "query from its documents."
        )
        yield Finding("queries inside their documents", "warning", message, look.name, "query", int(quoted.sum()), row)


def _quotes(query: str | None, document: str | None) -> bool:
    return bool(query and document) and len(str(query).split()) >= 3 and str(query).lower() in str(document).lower()


@check("retrieval")
def judgements_by_id(look: Look) -> Iterator[Finding]:
    """Find judgements of unknown queries or documents, invalid grades, and queries without relevant documents."""
    part = look.part
    unknown = [query for query in part.qrels if part.queries and query not in part.queries]
    yield from _unknown(look, "unknown queries", "queries", unknown, len(part.qrels))
    documents = {document for judged in part.qrels.values() for document in judged}
    yield from _unknown(
        look, "unknown documents", "corpus", sorted(documents - set(part.corpus)) if part.corpus else [], len(documents)
    )
    none = [query for query, judged in part.qrels.items() if not any(grade > 0 for grade in judged.values())]
    if none:
        message = (
            f"{len(none):,} of {len(part.qrels):,} queries in qrels have no relevant document: {few(none)}. "
            "Leave them out."
        )
        severity = "warning" if len(none) > 0.05 * len(part.qrels) else "note"
        yield Finding(
            "queries without relevant document", severity, message, look.name, "qrels", len(none), None, none[0]
        )
    yield from _invalid(look, part.qrels)


def _unknown(look: Look, name: str, where: str, ids: list[str], of: int) -> Iterator[Finding]:
    if ids:
        message = (
            f"{len(ids):,} of {of:,} ids in qrels are not in {where}: {few(ids)}. Add them, or leave their "
            "judgements out; "
            "often one file writes ids in another form."
        )
        yield Finding(name, "error", message, look.name, "qrels", len(ids), None, ids[0])


def _invalid(look: Look, qrels: Mapping[str, Mapping[str, float]]) -> Iterator[Finding]:
    wrong = [(q, d, g) for q, judged in qrels.items() for d, g in judged.items() if not 0 <= g < math.inf]
    if wrong:
        query, document, grade = wrong[0]
        message = (
            f"{len(wrong):,} grades in qrels are not finite numbers of at least 0, such as {grade!r} for query "
            f"{query!r}, "
            f"document {document!r}. Write 0 for irrelevant documents, and leave unjudged ones out."
        )
        yield Finding("negative grades", "error", message, look.name, "qrels", len(wrong), None, grade)
