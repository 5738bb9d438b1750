"""Shared parts of all batch samplers: labels, seeds, evaluation, and dealing rows to batches."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, ParamSpec

import numpy as np
import torch
from datasets import IterableDataset
from numpy.typing import NDArray
from sentence_transformers.base.sampler import DefaultBatchSampler

from st_rankloss._host import builds_evaluation
from st_rankloss.collators.beside import inputs_among
from st_rankloss.collators.inputs import holds_lists

Indices = NDArray[np.int64]
MakeSampler = Callable[..., DefaultBatchSampler]
"""Called by the trainer with (dataset, batch_size, drop_last, valid_label_columns, generator, seed)."""

Settings = ParamSpec("Settings")

logger = logging.getLogger(__name__)


def factory(function: Callable[Settings, MakeSampler]) -> Callable[Settings, MakeSampler]:
    """Let a function of settings raise TypeError if the trainer calls it as if it made the sampler itself."""

    @functools.wraps(function)
    def checked(*args: Settings.args, **kwargs: Settings.kwargs) -> MakeSampler:
        if "batch_size" in kwargs:
            name = f"samplers.{function.__name__}"
            needed = ", ".join(n for n, p in inspect.signature(function).parameters.items() if p.default is p.empty)
            raise TypeError(f"batch_sampler must be what {name} returns, got the function: call it: {name}({needed}).")
        return function(*args, **kwargs)

    return checked


class PlannedBatchSampler(DefaultBatchSampler):
    """A batch sampler that plans each epoch's batches in advance.

    Subclasses implement `plan` and set ``batches``, the number of batches in every epoch. All batches except the last
    must be full: accelerate, which gives each process every n-th batch, would silently drop others. The trainer passes
    the arguments.

    Args:
        dataset: The dataset to sample from.
        batch_size: Number of rows per batch, at least 1; the last one may have fewer.
        drop_last: Leave out the last batch unless it is full.
        valid_label_columns: Candidate names of the label column; the first in the dataset is used.
        generator: Unused: the order depends on ``seed`` and the epoch.
        seed: Determines the order of each epoch, together with the epoch number.

    Raises:
        ValueError: If the sampler cannot guarantee its batches.
    """

    follows_training: ClassVar[bool] = False
    """Whether the batches depend on the model in training, so that evaluation uses rows in any order."""

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
        self.sampler = self  # accelerate passes the epoch to the batch sampler's `sampler`
        self.dataset = dataset
        self.batches = 0
        self.notes: list[str] = []

    def plan(self, random: np.random.Generator) -> list[Indices]:
        """Choose the rows of each batch of an epoch."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self.plan(np.random.default_rng([(self.seed or 0) % 2**63, self.epoch])):
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
        """Return the name of a column, by default the first of single inputs, or raise ValueError."""
        inputs = inputs_among(self.dataset.column_names, self.valid_label_columns or [])
        single = [column for column in inputs if not holds_lists(self.dataset.features[column])]
        if name is None and inputs:
            return (single or inputs)[0]
        if name is not None and not isinstance(name, str):
            raise TypeError(f"column must be the name of a column, got a {type(name).__name__}.")
        if name not in self.dataset.column_names:
            raise ValueError(f"column must be one of {self.dataset.column_names}, got {name!r}.")
        return str(name)

    def count(self, rows: int) -> int:
        """Count the batches of ``rows`` rows, without a last batch of one row; raise ValueError if there are none."""
        full, rest = divmod(rows, self.batch_size)
        if rest == 1 and not self.drop_last:
            self.notes.append(f"1 of {rows} rows sits out each epoch, in turn: it would be alone in its batch.")
        batches: int = full + (rest > 1 and not self.drop_last)
        if self.drop_last and not batches:
            raise ValueError(f"drop_last=True leaves no batch of {self.batch_size} rows in {rows} rows.")
        return batches

    def read(self, column: str, *, decode: bool = False) -> list[Any]:
        """Read a column as Python values, whatever the dataset's format; files are decoded only with ``decode``."""
        table = self.dataset.select_columns(column).with_format(None)
        feature = table.features[column]
        if not decode and getattr(feature, "decode", False):
            table = table.cast_column(column, type(feature)(decode=False))
        return list(table[column][:])

    def note_unlabelled(self, unlabelled: int, column: str) -> None:
        """Note how many rows have no label; raise ValueError if none has one."""
        rows = len(self.dataset)
        if unlabelled == rows:
            raise ValueError(f"batch_sampler needs labels in {column!r}, got {rows} rows without one.")
        if unlabelled:
            self.notes.append(
                f"{unlabelled} of {rows} rows have no label in {column!r} and never take part in a batch."
            )


class EvaluationSampler(PlannedBatchSampler):
    """All rows of an evaluation set in fixed batches: those of a sampler, then the rows that it leaves out.

    Args:
        planned: The sampler; None means rows in any order.
        *args: As in `PlannedBatchSampler`; ``drop_last`` has no effect, because evaluation covers all rows.
    """

    def __init__(self, planned: PlannedBatchSampler | None, *args: Any) -> None:
        super().__init__(*args)
        self.drop_last = False
        self.planned = planned
        self.batches = -(-len(self.dataset) // self.batch_size)

    def plan(self, random: np.random.Generator) -> list[Indices]:
        """Use the plan of the first epoch in every epoch."""
        rows = np.array([row for batch in self.planned or () for row in batch], dtype=np.int64)
        others = np.setdiff1d(np.arange(len(self.dataset)), rows)
        rows = np.concatenate([rows, np.random.default_rng((self.seed or 0) % 2**63).permutation(others)])
        return [rows[start : start + self.batch_size] for start in range(0, len(rows), self.batch_size)]


def build(
    kind: type[PlannedBatchSampler],
    dataset: Any,
    batch_size: int,
    drop_last: bool = False,
    valid_label_columns: list[str] | None = None,
    generator: torch.Generator | None = None,
    seed: int = 0,
    **settings: Any,
) -> PlannedBatchSampler:
    """Build a sampler for training, or one over all rows for evaluation.

    An evaluation set is often too small or too unbalanced for the batches of training. It is then evaluated in batches
    of any rows, and the reason is logged.

    Args:
        kind: The class of the sampler.
        dataset: As in `PlannedBatchSampler`.
        batch_size: As in `PlannedBatchSampler`.
        drop_last: As in `PlannedBatchSampler`.
        valid_label_columns: As in `PlannedBatchSampler`.
        generator: As in `PlannedBatchSampler`.
        seed: As in `PlannedBatchSampler`.
        **settings: Settings of the sampler.

    Returns:
        The sampler.

    Raises:
        ValueError: If the dataset is streaming, or the sampler cannot guarantee its batches in training.
    """
    if isinstance(dataset, IterableDataset):
        raise ValueError(
            "batch_sampler needs a Dataset, whose rows it can choose, got an IterableDataset (streaming): load the "
            "dataset without streaming=True, or leave batch_sampler out."
        )
    shared = (valid_label_columns, generator, seed)
    if not builds_evaluation():
        sampler = kind(dataset, batch_size, drop_last, *shared, **settings)
        for note in sampler.notes:
            logger.warning(note)
        return sampler
    planned = None
    if not kind.follows_training:
        try:
            planned = kind(dataset, batch_size, False, *shared, **settings)
        except ValueError as error:
            logger.warning("The evaluation set is evaluated in batches of any rows: %s", error)
    return EvaluationSampler(planned, dataset, batch_size, drop_last, *shared)


def places(parents: NDArray[Any]) -> tuple[Indices, Indices]:
    """Number items within their parent, in order of appearance.

    Args:
        parents: The parent number of each item.

    Returns:
        The index of each item within its parent, and the size of its parent.

    Example:
        >>> [numbers.tolist() for numbers in places(np.array([7, 5, 7, 7]))]
        [[0, 0, 1, 2], [3, 1, 3, 3]]
    """
    _, inverse, counts = np.unique(parents, return_inverse=True, return_counts=True)
    order = np.argsort(inverse, kind="stable")
    place = np.empty(len(parents), dtype=np.int64)
    place[order] = np.arange(len(parents)) - np.repeat(counts.cumsum() - counts, counts)
    return place, counts[inverse]


def gather(rows: Indices, batch: Indices, batches: int) -> list[Indices]:
    """Collect the rows of each batch.

    Args:
        rows: Row numbers.
        batch: The batch of each row.
        batches: Number of batches.

    Returns:
        The rows of batch 0, 1, and so on.

    Example:
        >>> [rows.tolist() for rows in gather(np.array([7, 8, 9]), np.array([1, 0, 1]), 2)]
        [[8], [7, 9]]
    """
    order = np.argsort(batch, kind="stable")
    return np.split(rows[order], np.bincount(batch, minlength=batches).cumsum()[:-1])
