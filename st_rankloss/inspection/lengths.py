"""Texts that a model would cut."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from st_rankloss.inspection.columns import Look
from st_rankloss.inspection.findings import Finding, shorten

_SAMPLE = 2_000


def cut_texts(look: Look, model: Any) -> Iterator[Finding]:
    """Find texts with more tokens than the model reads, in a sample of each column; models without a limit read all."""
    longest = getattr(model, "max_seq_length", None)
    if longest is None or not math.isfinite(longest) or not callable(getattr(model, "tokenizer", None)):
        return
    for flat in look.texts:
        items = np.flatnonzero(~flat.missing)
        items = items[:: max(1, len(items) // _SAMPLE)][:_SAMPLE]
        if not len(items):
            continue
        tokens = model.tokenizer(flat.values.take(items).to_pylist(), truncation=False, verbose=False)["input_ids"]
        over = np.array([len(ids) > longest for ids in tokens])
        if over.any():
            item = int(items[over.argmax()])
            row, value = int(flat.rows[item]), shorten(flat.example(item))
            message = (
                f"{over.sum():,} of {len(items):,} texts in {flat.column!r} that were looked at have more than the "
                f"{longest} tokens that the model reads, such as {value!r} in row {row}: the rest is cut off. Raise "
                "model.max_seq_length if the model allows, or split the texts."
            )
            severity = "warning" if over.mean() > 0.1 else "note"
            yield Finding(
                "texts beyond the model's length",
                severity,
                message,
                look.name,
                flat.column,
                int(over.sum()),
                row,
                value,
            )
