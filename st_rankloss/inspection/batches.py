"""The share of queries with something to rank, in simulated epochs at several batch sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from datasets import Dataset

from st_rankloss import samplers
from st_rankloss.data.drawing import draw_rows
from st_rankloss.inspection.columns import Indices, Look, Mask
from st_rankloss.samplers.base import logger

SIZES = (16, 32, 64, 128, 256, 512, 1024)
SAMPLE = 20_000

Shares = dict[str, dict[int, float]]
"""For each sampler, the share of rows with something to rank, by batch size."""

_SAMPLERS: Mapping[str, Mapping[str, Callable[[], Any]]] = {
    "retrieval": {"lists": samplers.lists},
    "classification": {"classes": samplers.classes},
    "hierarchy": {"hierarchy": samplers.hierarchy},
    "multi_label": {"multi_label": samplers.multi_label},
    "regression": {"numeric": samplers.numeric},
}


def simulate(look: Look, sizes: tuple[int, ...] = SIZES) -> Shares:
    """Plan an epoch with each sampler that fits the task, and with random batches.

    Above 20,000 rows, of 20,000 drawn at random.

    Args:
        look: The part.
        sizes: Batch sizes; those above the number of rows are left out.

    Returns:
        The share of all rows whose batch holds both a relevant and a less relevant document for it, so that rows that
        sit out count as having none. Empty for tasks whose batches always do, and for labels that cannot be read.
    """
    kept = np.array(draw_rows(look.rows, SAMPLE), dtype=np.int64)
    labels, ranks = _read(look, kept), _RANKS.get(look.task)
    if labels is None or ranks is None:
        return {}
    shares: Shares = {}
    for size in (size for size in sizes if size <= len(kept)):
        batches = np.array_split(np.random.default_rng(0).permutation(len(kept)), range(size, len(kept), size))
        shares.setdefault("random", {})[size] = _share(look, kept, batches, ranks)
        for name, make in _SAMPLERS.get(look.task, {}).items():
            planned = _plan(make, labels, size)
            if planned is not None:
                shares.setdefault(name, {})[size] = _share(look, kept, planned, ranks)
    return shares


def _read(look: Look, kept: Indices) -> Dataset | None:
    """The labels of some rows, or their queries for retrieval, as a dataset for a sampler."""
    flat = look.columns.get("query") if look.task == "retrieval" else look.labels
    if flat is None or not len(kept):
        return None
    name = "query" if look.task == "retrieval" else "label"
    starts = flat.starts
    if flat.sizes is None:
        return Dataset.from_dict({name: flat.values.take(kept).to_pylist()})
    absent = set(flat.absent.tolist())
    values = [
        None if row in absent else flat.values.slice(starts[row], starts[row + 1] - starts[row]).to_pylist()
        for row in kept
    ]
    if look.class_ids:  # as names, which no sampler mistakes for a multi-hot
        values = [value and [str(label) for label in value] for value in values]
    return Dataset.from_dict({name: values})


def _plan(make: Callable[[], Any], labels: Dataset, size: int) -> list[Indices] | None:
    """The batches of an epoch; None if the sampler cannot keep its promise."""
    with _quiet():
        try:
            sampler = make()(labels, size, valid_label_columns=["label"])
            return [np.array(batch) for batch in sampler]
        except ValueError:
            return None


@contextmanager
def _quiet() -> Iterator[None]:
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def _share(look: Look, kept: Indices, batches: list[Indices], ranks: Callable[[Look, Indices, Indices], Mask]) -> float:
    rows = np.concatenate(batches) if batches else np.array([], dtype=np.int64)
    batch = np.repeat(np.arange(len(batches)), [len(rows) for rows in batches])
    return float(ranks(look, kept[rows], batch).sum()) / max(len(kept), 1)


def _shares_a_label(look: Look, rows: Indices, batch: Indices) -> Mask:
    """Which rows share a label, but not each label, with other rows of their batch."""
    owner, code = label_items(look)
    place = np.full(look.rows, -1, dtype=np.int64)
    place[rows] = np.arange(len(rows))
    used = place[owner] >= 0
    owner, code = place[owner[used]], code[used]
    keys, counts = np.unique(batch[owner] * (code.max(initial=0) + 1) + code, return_inverse=True, return_counts=True)[
        1:
    ]
    together = counts[keys]
    sizes = np.bincount(batch, minlength=1)[batch[owner]]
    found = np.zeros(len(rows), dtype=bool)
    found[owner[(together > 1) & (together < sizes)]] = True
    return found


def label_items(look: Look) -> tuple[Indices, Indices]:
    """The row and the code of each label: the coarsest class of a path, the labels of a set that a row has."""
    flat = look.labels
    if flat is None:
        return np.array([], dtype=np.int64), np.array([], dtype=np.int64)
    given = ~flat.missing
    if flat.sizes is None:
        return flat.rows[given], flat.codes[given]
    place = np.arange(len(flat)) - np.repeat(flat.starts[:-1], flat.sizes)
    if look.task == "hierarchy":
        given &= place == 0
        return flat.rows[given], flat.codes[given]
    if is_multi_hot(look):
        given &= flat.numbers > 0
        return flat.rows[given], place[given]
    return flat.rows[given], flat.codes[given]


def is_multi_hot(look: Look) -> bool:
    """Return whether labels are lists of equal length with numbers in [0, 1] only, and not declared as class ids."""
    flat = look.labels
    if flat is None or flat.sizes is None or not flat.is_number or not len(flat) or look.class_ids:
        return False
    sizes = flat.sizes[flat.sizes > 0]
    return bool(
        (sizes == sizes[0]).all() and ((flat.numbers >= 0) & (flat.numbers <= 1) | np.isnan(flat.numbers)).all()
    )


def _has_another_number(look: Look, rows: Indices, batch: Indices) -> Mask:
    """Which rows have a number, in a batch of at least three rows and two different numbers."""
    flat = look.labels
    if flat is None or flat.sizes is not None:
        return np.ones(len(rows), dtype=bool)
    numbers = flat.numbers[rows]
    most, least = np.full(batch.max(initial=0) + 1, -np.inf), np.full(batch.max(initial=0) + 1, np.inf)
    np.fmax.at(most, batch, numbers)
    np.fmin.at(least, batch, numbers)
    return np.asarray(~np.isnan(numbers) & (most > least)[batch] & (np.bincount(batch) > 2)[batch])


def _has_a_relevant_document(look: Look, rows: Indices, batch: Indices) -> Mask:
    """Which queries have a relevant document of their own, in a batch of several in which they occur once."""
    queries, grades = look.columns["query"], look.labels
    relevant = np.ones(look.rows, dtype=bool)
    if grades is not None and grades.is_number:
        relevant = grades.most_per_row(grades.numbers) > 0
    keys = batch * (queries.codes.max(initial=0) + 2) + queries.codes[rows] + 1
    _, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
    return np.asarray(relevant[rows] & (counts[inverse] == 1) & (np.bincount(batch, minlength=1) > 1)[batch])


_RANKS: Mapping[str, Callable[[Look, Indices, Indices], Mask]] = {
    "retrieval": _has_a_relevant_document,
    "classification": _shares_a_label,
    "hierarchy": _shares_a_label,
    "multi_label": _shares_a_label,
    "regression": _has_another_number,
    "sts": _has_another_number,
}
