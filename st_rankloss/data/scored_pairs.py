"""Pairs of sentences with a score."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

from datasets import Features, Value

from st_rankloss.data.building import Notes, build
from st_rankloss.data.columns import choose, describe, given_names, normal
from st_rankloss.data.part import Part
from st_rankloss.data.scaling import Scale, check_numbers, read_weight, rescale
from st_rankloss.data.table import Row, Table
from st_rankloss.data.tables import read_table
from st_rankloss.data.texts import read_text
from st_rankloss.labels import is_missing, refusal

_FEATURES = Features({"sentence1": Value("string"), "sentence2": Value("string"), "label": Value("float64")})


def read_scored_pairs(
    source: Any,
    *,
    sentence1: str | None = None,
    sentence2: str | None = None,
    score: str | None = None,
    weight: str | None = None,
    scale: Scale = None,
    streaming: bool = False,
) -> Part:
    """Read pairs of sentences with a score of at least 0.

    Args:
        source: A table, see `read_table`.
        sentence1: Column of the first sentences. Like all columns, it is found by its name if None.
        sentence2: Column of the second sentences.
        score: Column of scores; pairs without one are left out.
        weight: Column of weights of rows.
        scale: How to map scores of other ranges to at least 0, see `rescale`.
        streaming: Whether to read the file each time.

    Returns:
        An sts part.

    Raises:
        ValueError: If a column is missing or a value is invalid; the error names the source, the column and the row.

    Example:
        >>> read_scored_pairs({"text1": ["a"], "text2": ["b"], "similarity": [4.5]}).dataset[0]
        {'sentence1': 'a', 'sentence2': 'b', 'label': 4.5}
    """
    given = {"sentence1": sentence1, "sentence2": sentence2, "score": score, "weight": weight}
    table = read_table(source, text=given_names(sentence1, sentence2), streaming=streaming)
    with table.named():
        names = choose(table.names, required=["sentence1", "sentence2", "score"], optional=["weight"], given=given)
        check_numbers(table, names["score"], scale)
        if scale is None:
            _check_entailment(table, names)
        notes = Notes((*table.notes, describe(names, table.names)))
        features = Features(_FEATURES | {"weight": Value("float64")}) if "weight" in names else _FEATURES
        dataset = build(partial(_rows, table, names, scale, notes), features, streaming=table.streaming)
        return Part("sts", dataset, notes=notes.all(), source=table.source)


def _check_entailment(table: Table, names: dict[str, str]) -> None:
    """Raise ValueError for codes of entailment, whose usual order would make contradictions the most similar."""
    if normal(names["sentence1"]) != "premise":
        return
    scores = [score for score in table.column(names["score"]) if not is_missing(score)]
    codes = all(isinstance(score, int | float) and score in (-1, 0, 1, 2) for score in scores) and len({*scores}) > 1
    if codes and (2 in scores or "label" in normal(names["score"])):
        known = {0: 1, 1: 0.5, 2: 0} | ({-1: None} if -1 in scores else {})
        same = {code: code if code >= 0 else None for code in known}
        raise ValueError(
            f"column {names['score']!r} must hold scores, got codes like those of entailment and contradiction: "
            f"pass scale={known} if 0 is entailment, or scale={same} if they are scores."
        )


def _rows(table: Table, names: dict[str, str], scale: Scale, notes: Notes) -> Iterator[Row]:
    with table.named():
        for place, row in enumerate(table.rows()):
            pair = {role: read_text(row[names[role]], place, names[role]) for role in ("sentence1", "sentence2")}
            score = rescale(row[names["score"]], scale, place, names["score"])
            if isinstance(score, list) or (score is not None and not score < math.inf):
                remedy = "average the scores of several people first, or correct the value"
                raise refusal(names["score"], place, row[names["score"]], "one finite score per row", remedy)
            if is_missing(score) or None in pair.values():
                notes.count("pairs without a score or a sentence are left out", f"row {place}")
                continue
            weight = {"weight": read_weight(row, place, names["weight"])} if "weight" in names else {}
            yield pair | {"label": score} | weight
