"""What all batch samplers share: labels, seeds, and dealing rows to batches like cards."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers.base.sampler import DefaultBatchSampler

Indices = NDArray[np.int64]
MakeSampler = Callable[..., DefaultBatchSampler]
"""What the trainer calls: (dataset, batch_size, drop_last, valid_label_columns, generator, seed)."""

logger = logging.getLogger(__name__)


class PlannedBatchSampler(DefaultBatchSampler):
    """A batch sampler that plans each epoch's batches in advance.

    Subclasses implement `plan` and say in ``batches`` how many it makes in every epoch. All of them must be full
    but for the last: accelerate, which hands every n-th batch to a process, would drop others in silence. The
    trainer passes the arguments.

    Args:
        dataset: The dataset to sample from.
        batch_size: Number of rows in a batch, at least 1; the last one may have fewer.
        drop_last: Leave out the last batch unless it is full.
        valid_label_columns: Names of which the first in the dataset is the label column.
        generator: The trainer's generator; its order is taken from ``seed`` and the epoch instead.
        seed: Of the order of each epoch, together with the epoch's number.

    Raises:
        ValueError: If the sampler cannot keep its promise.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int,
        drop_last: bool = False,
        valid_label_columns: list[str] | None = None,
        generator: torch.Generator | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(dataset, batch_size, drop_last, valid_label_columns, generator, seed)
        self.dataset = dataset
        self.batches = 0

    def plan(self, random: np.random.Generator) -> list[Indices]:
        """Choose the rows of each batch of an epoch."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self.plan(np.random.default_rng([self.seed or 0, self.epoch])):
            yield batch.tolist()

    def __len__(self) -> int:
        return self.batches

    def label_column(self) -> str:
        """Return the name of the label column, or raise ValueError."""
        names: list[str] = self.valid_label_columns or []
        for name in names:
            if name in self.dataset.column_names:
                return name
        raise ValueError(
            f"batch_sampler needs a label column, one of {self.valid_label_columns}, got a dataset of the columns "
            f"{self.dataset.column_names}."
        )

    def input_column(self, name: str | None) -> str:
        """Return a column's name, by default that of the first which is no label, or raise ValueError."""
        others = [n for n in self.dataset.column_names if n not in [*(self.valid_label_columns or []), "dataset_name"]]
        if name is None and others:
            return str(others[0])
        if name not in self.dataset.column_names:
            raise ValueError(f"column must be one of {self.dataset.column_names}, got {name!r}.")
        return str(name)

    def count(self, rows: int) -> int:
        """Count the batches of ``rows`` rows, or raise ValueError if there is none."""
        batches: int = rows // self.batch_size if self.drop_last else -(-rows // self.batch_size)
        if not batches:
            raise ValueError(f"drop_last=True leaves no batch of {self.batch_size} rows in {rows} rows.")
        return batches

    def read(self, column: str) -> list[Any]:
        """Read a column as Python values, whatever the dataset's format."""
        return list(self.dataset.with_format(None)[column])


def places(parents: NDArray[Any]) -> tuple[Indices, Indices]:
    """Number items among those of their parent, in the order they come.

    Args:
        parents: A number for each item.

    Returns:
        Each item's place among its parent's, and how many its parent has.

    Example:
        >>> [numbers.tolist() for numbers in places(np.array([7, 5, 7, 7]))]
        [[0, 0, 1, 2], [3, 1, 3, 3]]
    """
    _, inverse, counts = np.unique(parents, return_inverse=True, return_counts=True)
    order = np.argsort(inverse, kind="stable")
    place = np.empty(len(parents), dtype=np.int64)
    place[order] = np.arange(len(parents)) - np.repeat(counts.cumsum() - counts, counts)
    return place, counts[inverse]


def deal(rows: Indices, batches: int, random: np.random.Generator) -> list[Indices]:
    """Deal rows to batches one by one, so that neighbours in ``rows`` part.

    Args:
        rows: A multiple of ``batches``, in an order in which rows that must part follow each other.
        batches: Number of batches.
        random: Shuffles the batches.

    Returns:
        The rows of each batch.
    """
    return [rows[start::batches] for start in random.permutation(batches)]
