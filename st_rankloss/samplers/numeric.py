"""Batches that span the range of a number."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from st_rankloss.labels import read_numbers
from st_rankloss.samplers.base import Indices, MakeSampler, PlannedBatchSampler, build, factory, gather


@factory
def numeric(per_quantile: int = 2) -> MakeSampler:
    """Batches stratified by quantiles: each has close neighbours and the full range, even where rows are rare.

    The rows, sorted by their number, are cut into runs of ``per_quantile`` rows per full batch, and every full batch
    gets ``per_quantile`` random rows of each run (fewer of the last run, to complete the batch). The rows beyond the
    full batches are one from each of the same number of equal parts of the sorted rows; they form the last batch, or
    sit out if there is only one or with ``drop_last``.

    Every batch has at least two different numbers if enough rows differ from the median: one per full batch, plus the
    number of rows beyond them. Otherwise some batches may have only one number, which is logged. Rows without a label
    never take part; their number is logged too.

    Labels: one number per row.

    Time: below 0.1 s per epoch for 100,000 rows.

    Args:
        per_quantile: Rows of a batch from each run, at least 1: the larger, the more random a batch.

    Returns:
        What ``batch_sampler=`` takes.

    Raises:
        ValueError: If ``per_quantile`` is below 1; when training starts: if the labels are not numbers or all equal,
            or a batch is smaller than two runs' shares.

    Example:
        >>> from datasets import Dataset
        >>> dataset = Dataset.from_dict({"text": list("abcdef"), "label": [0.1, 0.2, 5.0, 5.1, 9.0, 9.1]})
        >>> sampler = numeric(per_quantile=1)(dataset, batch_size=3, valid_label_columns=["label"])
        >>> [sorted(round(number) for number in dataset[batch]["label"]) for batch in sampler]
        [[0, 5, 9], [0, 5, 9]]
    """
    if isinstance(per_quantile, bool) or not isinstance(per_quantile, int) or per_quantile < 1:
        raise ValueError(f"per_quantile must be an integer of at least 1, got {per_quantile!r}.")
    return partial(build, QuantileSampler, per_quantile=per_quantile)


class QuantileSampler(PlannedBatchSampler):
    """Deals rows to batches in the order of their numbers; see `numeric`."""

    def __init__(self, dataset: Any, batch_size: int, *args: Any, per_quantile: int, **kwargs: Any) -> None:
        super().__init__(dataset, batch_size, *args, **kwargs)
        self.per_quantile = per_quantile
        column = self.label_column()
        numbers = read_numbers(self.read(column), column)
        if numbers.ndim == 2 and numbers.shape[1] == 1:
            numbers = numbers[:, 0]
        if numbers.ndim > 1:
            raise ValueError(f"batch_sampler needs one number per row in {column!r}, got {numbers[0].tolist()}.")
        self.note_unlabelled(int(np.isnan(numbers).sum()), column)
        labelled = np.flatnonzero(~np.isnan(numbers))
        self.order = labelled[np.argsort(numbers[labelled], kind="stable")]
        ordered = numbers[self.order]
        if ordered[0] == ordered[-1]:
            raise ValueError(f"batch_sampler needs different numbers in {column!r}, got {ordered[0]} in every row.")
        if batch_size < 2 * per_quantile:
            raise ValueError(f"batch_size must be at least {2 * per_quantile}, two quantiles' rows, got {batch_size}.")
        self.batches = self.count(len(self.order))
        # A batch of equal numbers has rows of every run, so they all equal the median.
        middle = ordered[len(ordered) // 2]
        self.is_median = ordered == middle
        self.others = np.flatnonzero(~self.is_median)
        if len(self.others) < sum(divmod(len(ordered), batch_size)):
            self.notes.append(
                f"Only {len(self.others)} of {len(ordered)} rows in {column!r} differ from the median, {middle}: some "
                f"of the {self.batches} batches may have no other number. Use larger batches, or "
                "leave out rows with the median."
            )

    def plan(self, random: np.random.Generator) -> list[Indices]:
        """Pick the last, smaller batch evenly, shuffle within runs, and deal the rest."""
        full, rest = divmod(len(self.order), self.batch_size)
        taken = self._choose_rest(rest, random)
        places = np.delete(np.arange(len(self.order)), taken)
        batches = []
        if full:
            run = np.arange(len(places)) // (self.per_quantile * full)
            median = self.is_median[places]
            # Rows off the median come first in their run, and continue where those of the previous run ended.
            offset = np.concatenate([[0], np.bincount(run, weights=~median).astype(np.int64).cumsum()[:-1]])
            batch = random.permutation(full)[(np.arange(len(places)) + offset[run]) % full]
            batches = gather(self.order[places[np.lexsort((random.random(len(places)), median, run))]], batch, full)
        return [*batches, self.order[taken]][: self.batches]

    def _choose_rest(self, rest: int, random: np.random.Generator) -> Indices:
        """Choose one position from each of ``rest`` equal parts, not all at the median if avoidable."""
        edges = np.arange(rest + 1) * len(self.order) // max(rest, 1)
        taken: Indices = random.integers(edges[:-1], edges[1:]) if rest else np.array([], dtype=np.int64)
        if self.batches * self.batch_size > len(self.order) and self.is_median[taken].all():
            other = random.choice(self.others)
            taken[np.searchsorted(edges, other, side="right") - 1] = other
        return taken
