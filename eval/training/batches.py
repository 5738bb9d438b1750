"""Training rows in the order that every loss sees: the same batches for all, chosen by the seed alone."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
from datasets import Dataset, Image
from sentence_transformers.base.sampler import DefaultBatchSampler
from torch.utils.data import SequentialSampler

from eval.tasks.data import Collection, Data, Samples, ScoredPairs
from eval.tasks.records import Record
from st_rankloss import samplers


class InOrder(DefaultBatchSampler):
    """Batches in the order of the rows."""

    def __init__(self, dataset: Any, batch_size: int, drop_last: bool = True, **kwargs: Any) -> None:
        super().__init__(SequentialSampler(dataset), batch_size, drop_last)


def make_rows(data: Data, *, pairs: bool, seed: int, steps: int, batch_size: int, sampler: str = "balanced") -> Dataset:
    """Lay out ``steps`` batches of training rows, one after another, in an order that the seed decides.

    Args:
        data: The record and its parts.
        pairs: Keep only the first document of each query.
        seed: Seed of the order.
        steps: Number of batches.
        batch_size: Rows per batch.
        sampler: For samples, ``balanced`` by their labels or ``random``.
    """
    train = data.parts["train"]
    draw = random.Random(seed)
    if isinstance(train, ScoredPairs):
        return _pair_rows(train, _shuffled(len(train), draw, steps, batch_size))
    if isinstance(train, Collection):
        return _query_rows(train, data.record, pairs, _shuffled(len(train), draw, steps, batch_size), draw)
    if data.record.kind == "texts" or data.record.has_captions or sampler == "random":
        order = _shuffled(len(train), draw, steps, batch_size)
    else:
        order = _balanced(train, data.record, seed, steps, batch_size)
    return _sample_rows(train, data.record, pairs, order)


def _shuffled(count: int, draw: random.Random, steps: int, batch_size: int) -> list[int]:
    """Repeat random orders of all rows, each without the rows that do not fill a batch."""
    if batch_size > count:
        raise ValueError(
            f"batch_size must be at most the number of training rows, {count}, got {batch_size}: lower it."
        )
    chosen: list[int] = []
    while len(chosen) < steps * batch_size:
        chosen += draw.sample(range(count), count // batch_size * batch_size)
    return chosen[: steps * batch_size]


def _balanced(train: Samples, record: Record, seed: int, steps: int, batch_size: int) -> list[int]:
    of_classes = samplers.classes if train.labels.dim() == 1 else samplers.hierarchy
    make: Any = {"sets": samplers.multi_label, "numbers": samplers.numeric}.get(record.labels, of_classes)
    labels = Dataset.from_dict({"label": train.labels.numpy()})
    planned = make()(labels, batch_size, drop_last=True, valid_label_columns=["label"], seed=seed)
    chosen: list[int] = []
    epoch = 0
    while len(chosen) < steps * batch_size:
        planned.set_epoch(epoch)
        chosen += [row for batch in planned if len(batch) == batch_size for row in batch]
        epoch += 1
    return chosen[: steps * batch_size]


def _pair_rows(train: ScoredPairs, order: Sequence[int]) -> Dataset:
    lowest, highest = min(0.0, *train.scores), max(train.scores)
    span = highest - lowest or 1.0
    return Dataset.from_dict(
        {
            "first": [train.first[i] for i in order],
            "second": [train.second[i] for i in order],
            "label": [(train.scores[i] - lowest) / span for i in order],
        }
    )


def _query_rows(train: Collection, record: Record, pairs: bool, order: Sequence[int], draw: random.Random) -> Dataset:
    queries, columns = list(train.queries), {"query": [], "documents": [], "query_id": [], "document_ids": []}  # type: ignore[var-annotated]
    for query in (queries[i] for i in order):
        grades = train.present(query)
        best = draw.choice([document for document, grade in grades.items() if grade == max(grades.values())])
        others = [document for document in grades if document != best]
        chosen = [best, *draw.sample(others, min(record.documents - 1, len(others)))]
        columns["query"].append(train.queries[query])
        columns["documents"].append([train.corpus[document] for document in chosen])
        columns["query_id"].append(query)
        columns["document_ids"].append(chosen)
    if pairs:
        return Dataset.from_dict({"query": columns["query"], "document": [row[0] for row in columns["documents"]]})
    return Dataset.from_dict(columns)


def _sample_rows(train: Samples, record: Record, pairs: bool, order: Sequence[int]) -> Dataset:
    columns: dict[str, Any] = {record.modality: train.inputs}
    if record.has_captions:
        columns["caption"] = train.captions
    if record.kind != "texts" and not pairs:
        columns["label"] = np.asarray(train.labels)
    rows = Dataset.from_dict(columns)
    if record.modality == "image":
        rows = rows.cast_column("image", Image())
    return rows.select(order)
