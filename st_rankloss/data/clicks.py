"""Click logs: clicks and impressions of documents shown for a query, into grades and weights."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from numbers import Real
from typing import Any, Literal

import numpy as np

from st_rankloss.data.building import Notes
from st_rankloss.data.columns import choose, describe, given_names, without_description
from st_rankloss.data.judged import WEIGHTS, Judgement, collect
from st_rankloss.data.part import Part
from st_rankloss.data.propensities import estimate_propensities
from st_rankloss.data.scaling import check_numbers, read_flag
from st_rankloss.data.table import Row, Table
from st_rankloss.data.tables import read_table
from st_rankloss.data.texts import read_text, text_id
from st_rankloss.labels import is_missing, plain, refusal


@dataclass
class _Shown:
    """A document that was shown for a query, with clicks and impressions by position."""

    row: int
    query: str
    document: str
    query_id: Any
    document_id: Any
    clicks: dict[float, float] = field(default_factory=lambda: defaultdict(float))
    impressions: dict[float, float] = field(default_factory=lambda: defaultdict(float))

    def examined(self, examination: Mapping[float, float]) -> float:
        """Return how often the document was examined."""
        return sum(impressions * examination[position] for position, impressions in self.impressions.items())

    @property
    def clicked(self) -> float:
        """How often the document was clicked."""
        return sum(self.clicks.values())


def read_clicks(
    source: Any,
    *,
    query: str | None = None,
    document: str | None = None,
    clicks: str | None = None,
    impressions: str | None = None,
    position: str | None = None,
    query_id: str | None = None,
    document_id: str | None = None,
    smoothing: float = 10.0,
    eta: float = 1.0,
    propensities: Mapping[float, float] | Literal["estimate"] | None = None,
    streaming: bool = False,
) -> Part:
    r"""Read a click log.

    Rows are summed per query and document. A user examines position p with probability p^-eta, or ``propensities[p]``,
    so a document was examined ``e = sum(impressions * propensity)`` times. With its ``c`` clicks, the mean rate ``m =
    sum(c) / sum(e)`` of the log and ``s = smoothing``, its grade is the smoothed click rate ``(c + s * m) / (e + s)``,
    and its weight ``e / (e + s)``, the share of the grade that was observed.

    The rate ``c / e`` is inverse propensity weighting. Of a single impression it is ``clicks / propensity``, which
    makes an additive metric of the clicks an unbiased estimate of the metric of the relevance (Joachims et al., 2017;
    Agarwal et al., 2019). Of many impressions, the mean of ``clicks / propensity`` would also be unbiased, but counts
    a click at a rarely examined position most; ``c / e`` counts impressions as often as they were examined, and has the
    smallest variance, about ``rate / e``, if clicks are rare. Smoothing and weights take care of what is left of it.

    The correction is for position alone. Clicks on documents that are examined but irrelevant raise all grades; trust
    in the ranking, which makes such clicks more frequent at the top, stays in them.

    Args:
        source: A table, see `read_table`.
        query: Column of the queries. Like all columns, it is found by its name if None.
        document: Column of the documents.
        clicks: Column of numbers of clicks, at least 0.
        impressions: Column of numbers of impressions, at least the clicks; without one, each row is one impression.
        position: Column of positions at which documents were shown, from 1; without one, all were examined.
        query_id: Column of ids of queries.
        document_id: Column of ids of documents.
        smoothing: Examinations at the mean rate that are added to each document, above 0.
        eta: How fast attention falls with the position, at least 0; 0 corrects nothing.
        propensities: Examination by position, above 0, instead of ``position ** -eta``. "estimate" estimates it from
            the log by `estimate_propensities`, for which documents must have been shown at several positions.
        streaming: Whether to read the file row by row; sums are in memory all the same.

    Returns:
        A retrieval part with ``document_weights``; queries with one document only are left out.

    Raises:
        ValueError: If a column is missing or a number is invalid, or ``propensities`` lacks a position or cannot be
            estimated; the error names the source, and the column and the row.

    Example:
        >>> log = {"query": ["a", "a"], "doc": ["x", "y"], "clicks": [30, 0], "impressions": [90, 90]}
        >>> part = read_clicks(log)
        >>> [round(grade, 4) for grade in part.dataset["labels"][0]], part.dataset["document_weights"][0]
        ([0.3167, 0.0167], [0.9, 0.9])

    Source: Joachims, Swaminathan, Schnabel (2017), "Unbiased learning-to-rank with biased feedback"; Agarwal et al.
    (2019), "A general framework for counterfactual learning-to-rank". Smoothing and weights are ours.
    """
    if not isinstance(smoothing, Real) or not isinstance(eta, Real) or not smoothing > 0 or not eta >= 0:
        raise ValueError(f"smoothing must be above 0 and eta at least 0, got {smoothing!r} and {eta!r}.")
    given = {
        "query": query,
        "document": document,
        "clicks": clicks,
        "impressions": impressions,
        "position": position,
        "query_id": query_id,
        "document_id": document_id,
    }
    text = given_names(query, document, query_id, document_id)
    table = read_table(source, text=text, streaming=streaming)
    with table.named():
        optional = ["impressions", "position", "query_id", "document_id"]
        given["document"] = document or without_description(table.names)
        columns = choose(table.names, required=["query", "document", "clicks"], optional=optional, given=given)
        for role in columns.keys() & {"clicks", "impressions", "position"}:
            check_numbers(table, columns[role])
        if propensities is not None and "position" not in columns:
            raise ValueError(
                "propensities need a column of positions, got none: name it as position=, or leave them out."
            )
        notes = Notes((*table.notes, describe(columns, table.names)))
        shown = _sum(table, columns, notes)
        examination = _examination(shown, eta, propensities)
        if propensities == "estimate":
            notes.add("examination is estimated: " + ", ".join(f"{p:g}: {e:.3g}" for p, e in examination.items()))
        whole = Table(table.source, table.names, table.rows)
        return collect(whole, partial(_judgements, shown, examination, smoothing), notes, weighted=(WEIGHTS,))


def _sum(table: Table, columns: dict[str, str], notes: Notes) -> dict[Any, dict[Any, _Shown]]:
    """Return the documents of each query, with sums of clicks and impressions."""
    found: dict[Any, dict[Any, _Shown]] = {}
    for place, row in enumerate(table.rows()):
        query, document = (read_text(row[columns[role]], place, columns[role]) for role in ("query", "document"))
        if query is None or document is None:
            notes.count("rows without a query or a document are left out", f"row {place}")
            continue
        query_id, document_id = _id(row, columns.get("query_id"), query), _id(row, columns.get("document_id"), document)
        shown = _Shown(place, query, document, query_id, document_id)
        shown = found.setdefault(query_id, {}).setdefault(document_id, shown)
        clicks = _count(row, place, columns["clicks"])
        impressions = _count(row, place, columns["impressions"]) if "impressions" in columns else 1.0
        if clicks > impressions:
            rule = f"at most as many clicks as the row's {impressions:g} impressions"
            raise refusal(columns["clicks"], place, clicks, rule, "correct the row, or name the right columns")
        position = _count(row, place, columns["position"], 1.0) if "position" in columns else 1.0
        shown.clicks[position] += clicks
        shown.impressions[position] += impressions
    return found


def _id(row: Row, column: str | None, text: str) -> Any:
    value = None if column is None else plain(row[column])
    return text_id(text) if is_missing(value) else value


def _count(row: Row, place: int, column: str, least: float = 0.0) -> float:
    value = plain(row[column])
    flag = read_flag(value)
    value = value if flag is None else flag
    if not isinstance(value, int | float) or not least <= value < float("inf"):
        remedy = "positions count from 1: add 1 to each" if least == 1 and value == 0 else "fill the row, or remove it"
        raise refusal(column, place, value, f"numbers of at least {least:g}", remedy)
    return float(value)


def _examination(
    found: dict[Any, dict[Any, _Shown]], eta: float, propensities: Mapping[float, float] | Literal["estimate"] | None
) -> Mapping[float, float]:
    """Return the examination of each position of the log."""
    shown = [one for documents in found.values() for one in documents.values()]
    cells = [(key, p, one.clicks[p], n) for key, one in enumerate(shown) for p, n in one.impressions.items()]
    if propensities == "estimate":
        return estimate_propensities(*np.array(cells).reshape(-1, 4).T)
    positions = sorted({position for _, position, _, _ in cells})
    if propensities is None:
        return {position: position**-eta for position in positions}
    if not isinstance(propensities, Mapping):
        raise ValueError(f"propensities must be a mapping, 'estimate' or None, got {propensities!r:.80}.")
    if unlike := [key for key in propensities if not isinstance(key, Real)]:
        raise ValueError(f"propensities must have numbers as keys, got {unlike[0]!r:.80}: write {{1: 1.0, 2: 0.5}}.")
    for position in positions:
        value = propensities.get(position)
        if not isinstance(value, Real) or not 0 < value < float("inf"):
            raise ValueError(
                f"propensities must have a number above 0 for every position of the log, got {value!r} for position "
                f"{position:g}: add it, or leave the rows of this position out."
            )
    return {position: float(propensities[position]) for position in positions}


def _judgements(
    shown: dict[Any, dict[Any, _Shown]], examination: Mapping[float, float], smoothing: float, notes: Notes
) -> Iterator[Judgement]:
    every = [document for documents in shown.values() for document in documents.values()]
    whole = sum(one.examined(examination) for one in every)
    mean = sum(one.clicked for one in every) / whole if whole else 0.0
    notes.add(f"grades are click rates, smoothed by {smoothing:g} examinations at the mean rate of {mean:.4g}")
    for documents in shown.values():
        if len(documents) < 2:
            notes.count("queries with one document only are left out", f"row {next(iter(documents.values())).row}")
            continue
        for one in documents.values():
            examined = one.examined(examination)
            total = examined + smoothing
            grade, weight = (one.clicked + smoothing * mean) / total, examined / total
            yield Judgement(one.row, one.query, one.document, grade, one.query_id, one.document_id, weight)
