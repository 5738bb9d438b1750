"""Rows into a dataset: in memory or streaming, with declared types."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import pyarrow as pa
from datasets import Dataset, Features, IterableDataset

from st_rankloss.data.table import BATCH, Row


def build(rows: Callable[[], Iterator[Row]], features: Features, *, streaming: bool) -> Dataset | IterableDataset:
    """Return the dataset of rows.

    Args:
        rows: A function that yields them; it must be picklable if streaming, for the workers of a loader.
        features: The columns and their types.
        streaming: Whether to return an `IterableDataset`, which reads the rows each time.

    Returns:
        The dataset.

    Example:
        >>> from datasets import Value
        >>> build(lambda: iter([{"text": "a"}]), Features({"text": Value("string")}), streaming=False)[0]
        {'text': 'a'}
    """
    if streaming:
        return IterableDataset.from_generator(rows, features=features)
    schema, found, batches = features.arrow_schema, rows(), []
    while batch := list(islice(found, BATCH)):
        batches.append(pa.RecordBatch.from_pylist(batch, schema=schema))
    return Dataset(pa.Table.from_batches(batches, schema=schema), fingerprint=_fingerprint(batches, schema))


def _fingerprint(batches: list[pa.RecordBatch], schema: pa.Schema) -> str:
    """Return a hash of the content, without the copies that datasets would make of it."""
    digest = hashlib.blake2b(str(schema).encode(), digest_size=8)
    for batch in batches:
        for buffer in (buffer for column in batch.columns for buffer in column.buffers() if buffer is not None):
            digest.update(buffer)
    return digest.hexdigest()


class Notes:
    """What a reader left out, converted or assumed, counted by reason.

    Example:
        >>> notes = Notes(["fields are separated by ';'"])
        >>> notes.count("rows without a query are left out", "row 3"); notes.count("rows without a query are left out")
        >>> notes.all()[1]
        'rows without a query are left out: 2, the first in row 3'
    """

    def __init__(self, notes: Any = ()) -> None:
        self._notes = list(notes)
        self._counts: dict[str, tuple[int, str]] = {}

    def add(self, note: str) -> None:
        """Add a note, once."""
        if note not in self._notes:
            self._notes.append(note)

    def count(self, reason: str, where: str = "") -> None:
        """Count one thing that was left out or converted for a reason, and remember where the first was."""
        number, first = self._counts.get(reason, (0, where))
        self._counts[reason] = (number + 1, first)

    def all(self) -> tuple[str, ...]:
        """Return all notes, in words."""
        counted = (
            f"{reason}: {number:,}" + (f", the first in {first}" if first else "")
            for reason, (number, first) in self._counts.items()
        )
        return (*self._notes, *counted)
