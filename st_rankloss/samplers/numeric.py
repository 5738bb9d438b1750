"""Batches that span the range of a number."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from st_rankloss.samplers.base import Indices, MakeSampler, PlannedBatchSampler, deal


def numeric(per_quantile: int = 2) -> MakeSampler:
    """Batches stratified by quantiles: each has near neighbours and the whole range, also where rows are rare.

    The rows are sorted by their number and cut into runs of ``per_quantile`` for each batch; every batch gets so
    many of each run, at random. Every row takes part in every epoch; those that fill no batch, taken out evenly,
    make a last smaller one, or sit out under ``drop_last``.

    Labels: one number a row.

    Time: below 0.1 s an epoch for 100,000 rows.

    Args:
        per_quantile: Rows of a batch from each run, at least 1: the larger, the more a batch is left to chance.

    Returns:
        What ``batch_sampler=`` takes.

    Raises:
        ValueError: If ``per_quantile`` is below 1; when training starts: if the labels are no numbers or all equal,
            or a batch is smaller than two runs' shares.

    Example:
        >>> from datasets import Dataset
        >>> dataset = Dataset.from_dict({"text": list("abcdef"), "label": [0.1, 0.2, 5.0, 5.1, 9.0, 9.1]})
        >>> sampler = numeric(per_quantile=1)(dataset, batch_size=3, valid_label_columns=["label"])
        >>> [sorted(round(number) for number in dataset[batch]["label"]) for batch in sampler]
        [[0, 5, 9], [0, 5, 9]]
    """
    if not isinstance(per_quantile, int) or per_quantile < 1:
        raise ValueError(f"per_quantile must be an integer of at least 1, got {per_quantile!r}.")
    return partial(QuantileSampler, per_quantile=per_quantile)


class QuantileSampler(PlannedBatchSampler):
    """Deals rows in the order of their numbers; see `numeric`."""

    def __init__(self, dataset: Any, batch_size: int, *args: Any, per_quantile: int, **kwargs: Any) -> None:
        super().__init__(dataset, batch_size, *args, **kwargs)
        self.per_quantile = per_quantile
        column = self.label_column()
        values = self.read(column)
        if not isinstance(values[0], int | float):
            raise ValueError(f"batch_sampler needs one number for each row in {column!r}, got {values[0]!r}.")
        numbers = np.array(values, dtype=np.float64)
        if not np.isfinite(numbers).all():
            raise ValueError(
                f"batch_sampler needs finite numbers in {column!r}, got {numbers[~np.isfinite(numbers)][0]}."
            )
        if numbers.min() == numbers.max():
            raise ValueError(f"batch_sampler needs different numbers in {column!r}, got {numbers[0]} in every row.")
        if batch_size < 2 * per_quantile:
            raise ValueError(f"batch_size must be at least {2 * per_quantile}, two quantiles' rows, got {batch_size}.")
        self.order = np.argsort(numbers, kind="stable")
        self.batches = self.count(len(numbers))

    def plan(self, random: np.random.Generator) -> list[Indices]:
        """Take the last, smaller batch out evenly, shuffle within runs, and deal."""
        rows = len(self.order)
        full, rest = divmod(rows, self.batch_size)
        segment = rows / max(rest, 1)
        taken = ((np.arange(rest) + random.random(rest)) * segment).astype(np.int64).clip(max=rows - 1)
        order = np.delete(self.order, taken)
        batches = []
        if full:
            run = np.arange(len(order)) // (self.per_quantile * full)
            batches = deal(order[np.lexsort((random.random(len(order)), run))], full, random)
        return batches if self.drop_last or not rest else [*batches, self.order[taken]]
