"""Batches of distinct queries."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from st_rankloss.collators.beside import id_names
from st_rankloss.labels import is_missing, refusal
from st_rankloss.samplers.base import Indices, MakeSampler, PlannedBatchSampler, build, factory, gather, places


@factory
def lists(column: str | None = None) -> MakeSampler:
    """Batches in which no query occurs twice, so that a query's own documents are never its negatives.

    All rows take part in each epoch unless a query has more rows than the epoch has batches: some of its rows then sit
    out, in turn, and their number is logged. The no_duplicates sampler of sentence-transformers also separates rows
    that share a document, but must read the values of every row.

    Time: below 0.3 s per epoch for 100,000 rows.

    Args:
        column: The column that identifies queries; None means the first of single inputs, as losses read it.

    Returns:
        A value for ``batch_sampler=``.

    Raises:
        ValueError: When training starts: if there is no such column, a row lacks its query, or a batch is larger than
            the number of different queries.

    Example:
        >>> from datasets import Dataset
        >>> dataset = Dataset.from_dict({"query": ["a", "a", "b", "b"], "documents": [["x"], ["y"], ["z"], ["w"]]})
        >>> [sorted(dataset["query"][i] for i in batch) for batch in lists()(dataset, 2)]
        [['a', 'b'], ['a', 'b']]
    """
    return partial(build, DistinctSampler, column=column)


@factory
def qrels(column: str | None = None) -> MakeSampler:
    """Batches in which no query id occurs twice; see `lists`.

    Args:
        column: The column of query ids; None means that of the column of queries, or the first whose name ends in
            ``_id``.

    Returns:
        A value for ``batch_sampler=``.

    Raises:
        ValueError: When training starts: as in `lists`.

    Example:
        ::

            batch_sampler=samplers.qrels()  # for columns query, query_id, document, document_id
    """
    return partial(build, DistinctSampler, column=column, by_id=True)


class DistinctSampler(PlannedBatchSampler):
    """Deals rows to batches in the order of their queries; see `lists`.

    ``f`` full batches exist if and only if the sum over queries of min(rows, f) is at least f · batch_size: then no
    query needs more than one place in each, and dealing rows query by query to f batches separates rows of the same
    query. The remaining rows form the last batch, one row per query.
    """

    def __init__(
        self, dataset: Any, batch_size: int, *args: Any, column: str | None, by_id: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(dataset, batch_size, *args, **kwargs)
        if by_id and column is None:
            own = id_names(self.input_column(None)) if dataset.column_names else ()
            ids = [name for name in dataset.column_names if name.endswith("_id")]
            column = next((name for name in own if name in dataset.column_names), None) or next(iter(ids), None)
            if column is None:
                raise ValueError(
                    "batch_sampler needs a column of query ids, whose name ends in _id, got the columns "
                    f"{dataset.column_names}."
                )
        column = self.input_column(column)
        numbers: dict[str, int] = {}
        self.query = np.array(
            [numbers.setdefault(str(x), len(numbers)) for x in self._read_queries(column)], dtype=np.int64
        )
        self.sizes = np.bincount(self.query, minlength=1)
        if len(numbers) < batch_size:
            raise ValueError(
                f"batch_size must be at most the number of different queries in {column!r}, {len(numbers)}, "
                f"got {batch_size}."
            )
        low, high = 1, len(self.query) // batch_size
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self._usable(middle) >= middle * batch_size else (low, middle - 1)
        self.full = low
        self.rest = self._usable(self.full + 1) - self.full * batch_size
        self.batches = self.full + (self.rest > 0 and not self.drop_last)
        out = len(self.query) - self._usable(self.batches)
        if out:
            self.notes.append(
                f"A query in {column!r} has {self.sizes.max()} rows, more than the {self.batches} batches of an epoch: "
                f"{out} of {len(self.query)} rows sit out each epoch, in turn."
            )

    def _read_queries(self, column: str) -> list[Any]:
        values = self.read(column)
        for row, value in enumerate(values):
            if is_missing(value):
                raise refusal(column, row, value, "a query in every row", "leave the row out")
        return values

    def _usable(self, batches: int) -> int:
        """Count the rows that fit in ``batches`` batches, at one row per query."""
        return int(np.minimum(self.sizes, batches).sum())

    def plan(self, random: np.random.Generator) -> list[Indices]:
        """Fill the last, smaller batch from the queries with too many rows and some others, and deal the rest."""
        rows = random.permutation(len(self.query))
        rest = np.lexsort((random.random(len(self.sizes)), self.sizes <= self.full))[: self.rest]
        place = places(self.query[rows])[0]
        last = (place == 0) & np.isin(self.query[rows], rest)
        taken, rows = rows[last], rows[~last]
        rows = rows[places(self.query[rows])[0] < self.full]
        rows = rows[np.argsort(random.permutation(len(self.sizes))[self.query[rows]], kind="stable")]
        batches = gather(rows, random.permutation(self.full)[np.arange(len(rows)) % self.full], self.full)
        return batches if self.drop_last or not self.rest else [*batches, taken]
