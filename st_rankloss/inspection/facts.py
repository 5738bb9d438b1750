"""What a part holds: rows, columns, labels, documents per query."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pyarrow.compute as pc

from st_rankloss.inspection.batches import Shares, is_multi_hot, label_items, simulate
from st_rankloss.inspection.columns import INPUTS, WEIGHTS, Flat, Look
from st_rankloss.labels import LABEL_COLUMNS

_LABEL_KINDS = {
    "retrieval": "grades",
    "sts": "scores",
    "classification": "classes",
    "hierarchy": "paths",
    "multi_label": "label sets",
    "regression": "numbers",
    "self_supervised": "labels (not read)",
    "image_text": "labels",
}
_QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
_MOST_VALUES = 20


@dataclass(frozen=True)
class Column:
    """Facts of a column.

    Attributes:
        name: Its name.
        kind: What it is treated as.
        missing: Number of missing items.
        distinct: Number of different items.
        lengths: Shortest, median and longest text, in characters; None unless it holds texts.
    """

    name: str
    kind: str
    missing: int = 0
    distinct: int = 0
    lengths: tuple[int, int, int] | None = None


@dataclass(frozen=True)
class Facts:
    """Facts of a part.

    Attributes:
        part: Its name.
        task: Its task.
        rows: Number of rows looked at.
        columns: Its columns.
        labels: How often each label occurs: the 20 most frequent, or ten ranges of numbers.
        documents: Documents per query: smallest, quartiles and largest; empty unless there are lists.
        shares: For each sampler, the share of rows with something to rank, by batch size.
        queries: Number of queries by id.
        corpus: Number of documents by id.
        judgements: Number of judgements by id.
    """

    part: str
    task: str
    rows: int
    columns: tuple[Column, ...] = ()
    labels: Mapping[str, int] = field(default_factory=dict)
    documents: tuple[float, ...] = ()
    shares: Shares = field(default_factory=dict)
    queries: int = 0
    corpus: int = 0
    judgements: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return the facts as plain values."""
        return asdict(self)


def facts_of(look: Look) -> Facts:
    """Collect the facts of a part."""
    columns = [_column(look, flat) for flat in look.columns.values()]
    columns += [Column(name, "image or other data") for name in look.others]
    documents = look.columns.get("documents")
    sizes = documents.sizes if documents is not None and look.rows else None
    return Facts(
        look.name,
        look.task,
        look.rows,
        tuple(columns),
        {} if look.labels is None else _distribution(look, look.labels),
        () if sizes is None else tuple(np.quantile(sizes, _QUANTILES).tolist()),
        simulate(look),
        len(look.part.queries),
        len(look.part.corpus),
        sum(map(len, look.part.qrels.values())),
    )


def _column(look: Look, flat: Flat) -> Column:
    lengths = None
    if flat.is_text and len(flat):
        counted = pc.utf8_length(flat.values).combine_chunks().drop_null().to_numpy()
        if len(counted):
            lengths = (int(counted.min()), int(np.median(counted)), int(counted.max()))
    missing = int(flat.missing.sum()) + len(flat.absent)
    return Column(flat.column, _kind(look, flat), missing, flat.distinct, lengths)


def _kind(look: Look, flat: Flat) -> str:
    if flat.column in LABEL_COLUMNS:
        return _LABEL_KINDS[look.task]
    if flat.column in WEIGHTS:
        return "weights"
    if flat.column.endswith(("_id", "_ids")) and flat.column not in INPUTS:
        return "ids"
    if flat.column not in INPUTS:
        return "unknown"
    return ("texts" if flat.is_text else "not text") + (", in lists" if flat.sizes is not None else "")


def _distribution(look: Look, flat: Flat) -> dict[str, int]:
    if look.task == "multi_label" and is_multi_hot(look):
        counts = np.bincount(label_items(look)[1], minlength=1)
        return {f"place {place}": int(counts[place]) for place in np.argsort(-counts, kind="stable")[:_MOST_VALUES]}
    given = flat.codes[~flat.missing]
    if not len(given):
        return {}
    if flat.is_number and flat.distinct > _MOST_VALUES:
        numbers = flat.numbers[np.isfinite(flat.numbers)]
        counts, edges = np.histogram(numbers, bins=10) if len(numbers) else (np.array([]), np.array([]))
        return {f"{low:.4g} to {high:.4g}": int(n) for low, high, n in zip(edges[:-1], edges[1:], counts, strict=True)}
    codes, first, counts = np.unique(flat.codes, return_index=True, return_counts=True)
    found = [(flat.example(item), int(n)) for code, item, n in zip(codes, first, counts, strict=True) if code >= 0]
    found.sort(key=lambda entry: entry[0] if flat.is_number else -entry[1])
    return {str(value): count for value, count in found[:_MOST_VALUES]}
