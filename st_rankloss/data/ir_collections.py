"""Collections of the package ir_datasets, by id."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from st_rankloss._extras import require
from st_rankloss.data.building import Notes
from st_rankloss.data.collection import join
from st_rankloss.data.grading import Grading
from st_rankloss.data.part import Part
from st_rankloss.data.scaling import Scale
from st_rankloss.data.table import naming
from st_rankloss.data.texts import join_title

_TEXTS = ("text", "body", "abstract", "title", "query")


def read_ir_datasets(name: str, *, negative: str = "refuse", scale: Scale = None) -> Part:
    """Read a collection of ir_datasets, which downloads what it has not got.

    Args:
        name: Its id, such as ``"beir/nfcorpus/train"``.
        negative: What to do about negative grades: "refuse" or "zero".
        scale: How to map grades to grades of at least 0, see `rescale`.

    Returns:
        A retrieval part.

    Raises:
        ValueError: If the collection lacks documents, queries or judgements, or a grade is negative.
        ImportError: If ir_datasets is missing.
    """
    grading = Grading(negative, scale)
    module = require("ir_datasets", "ir_datasets", purpose="collections by id")
    try:
        found = module.load(name)
    except KeyError as error:
        raise ValueError(f"ir_datasets:{name}: ir_datasets has no collection of this id.") from error
    lacking = [kind for kind in ("docs", "queries", "qrels") if not getattr(found, f"has_{kind}")()]
    if lacking:
        raise ValueError(
            f"ir_datasets:{name}: a collection must have documents, queries and judgements, got none of {lacking}: "
            f"name a part of it, such as {name + '/train'!r}."
        )
    notes = Notes()
    corpus = {document.doc_id: _text(document) for document in found.docs_iter()}
    queries = {query.query_id: _text(query) for query in found.queries_iter()}
    with naming(f"ir_datasets:{name}"):
        qrels = grading.judgements(lambda: _rows(found), notes, column="relevance")
    return join(queries, corpus, qrels, notes, f"ir_datasets:{name}")


def _rows(found: Any) -> Iterator[tuple[int, Any, Any, Any]]:
    for place, row in enumerate(found.qrels_iter()):
        yield place, row.query_id, row.doc_id, row.relevance


def _text(record: Any) -> str:
    """Return the text of a document or a query, as the collection says, or after its title if it has one."""
    if hasattr(record, "default_text"):
        return str(record.default_text())
    text = next((getattr(record, name) for name in _TEXTS if getattr(record, name, None)), "")
    title = getattr(record, "title", "")
    return str(text) if text == title else join_title(title, text)
