"""Texts and images that occur in two parts, such as training and test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations

import numpy as np
import pyarrow.compute as pc

from st_rankloss.inspection.columns import Flat, Indices, Keys, Look, Mask, mix
from st_rankloss.inspection.findings import Finding, report
from st_rankloss.inspection.images import named_images

LEAKY = 0.2
"""Share of the later part from which a leak is an error: its scores then say little about new data."""


def leaks(looks: Mapping[str, Look]) -> Iterator[Finding]:
    """Find what occurs in two parts: queries and judged pairs, pairs of texts, texts, or images."""
    for first, second in combinations(looks.values(), 2):
        remedy = f"Leave them out of {first.name!r}: scores on {second.name!r} would be too high."
        where = f"also occur in {first.name!r}"
        if first.images and second.images:
            known = {*first.images}
            leaked = np.array([image in known for image in second.images])
            yield from _leak(second, named_images(second), leaked, "leaked images", where, remedy)
        columns = _compared(first, second)
        if not columns:
            continue
        if first.task == "retrieval":
            yield from _leaked_queries(first, second, columns, where, remedy)
            continue
        name = "leaked pairs" if len(columns) > 1 else "leaked texts"
        one, other = _keys(first, second, columns)
        yield from _leak(second, second.columns[columns[0]], np.isin(other, one), name, where, remedy)


def _compared(first: Look, second: Look) -> list[str]:
    if first.task != second.task or first.others != second.others:
        return []
    names = [flat.column for flat in first.texts if flat.column in {other.column for other in second.texts}]
    return [] if first.task == "image_text" and "image" not in names else names


def _leaked_queries(first: Look, second: Look, columns: list[str], where: str, remedy: str) -> Iterator[Finding]:
    if "query" not in columns:
        return
    one, other = shared_codes(first.columns["query"], second.columns["query"])
    leaked = np.isin(other, one)
    yield from _leak(second, second.columns["query"], leaked, "leaked queries", where, remedy)
    if leaked.any() and len(columns) > 1:
        keys = []
        documents = shared_codes(first.columns[columns[1]], second.columns[columns[1]])
        for look, queries, codes in ((first, one, documents[0]), (second, other, documents[1])):
            keys.append(mix(queries[look.columns[columns[1]].rows], codes))
        what = f"are judged for the same query in {first.name!r}"
        flat = second.columns[columns[1]]
        yield from _leak(second, flat, np.isin(keys[1], keys[0]), "leaked pairs", what, remedy)


def _leak(look: Look, flat: Flat, mask: Mask, name: str, what: str, remedy: str) -> Iterator[Finding]:
    severity = "error" if mask.sum() >= LEAKY * len(mask) else "warning"
    yield from report(look, flat, mask, name, severity, what, remedy)


def _keys(first: Look, second: Look, columns: list[str]) -> tuple[Keys, Keys]:
    keys = [np.zeros(look.rows, dtype=np.uint64) for look in (first, second)]
    for name in columns:
        codes = shared_codes(first.columns[name], second.columns[name])
        keys = [mix(key, code) for key, code in zip(keys, codes, strict=True)]
    return keys[0], keys[1]


def shared_codes(first: Flat, second: Flat) -> tuple[Indices, Indices]:
    """Number the items of two columns, so that equal ones have the same number."""
    known = pc.unique(first.values)
    places = pc.fill_null(pc.index_in(second.values, value_set=known), -1).to_numpy()
    new = second.codes + 1 + len(known)  # a missing item that the first column lacks is new, too
    codes = pc.index_in(first.values, value_set=known).to_numpy()
    return codes.astype(np.int64), np.where(places < 0, new, places).astype(np.int64)
