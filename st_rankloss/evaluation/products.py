"""The largest inner products, exact, at less than the cost of a float64 matrix product.

Float64 products cost twice as much as float32 ones, and sorting them costs several times more. So a float32 product
comes first, with a bound of its error: only what may be among the best is computed in float64, one pair at a time.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from st_rankloss.evaluation.best import by_row, keep_best, make_keys, read_scores
from st_rankloss.evaluation.dense import DenseVectors

_ROWS, _DOCUMENTS = 512, 2048  # a block of similarities stays in cache
_PAIRS = 1024  # computed at a time, in cache
_MOST = 1 / 32  # share of a block above which computing all of it in float64 is faster
_GROUP = 32  # documents of which only the largest similarity is compared first


def can_prune(queries: DenseVectors, documents: DenseVectors) -> bool:
    """Return whether `best_products` computes the similarity: an inner product of moderate size, on a CPU."""
    if queries.similarity_fn_name not in ("cosine", "dot") or queries.device.type != "cpu" or not len(documents):
        return False
    longest = max(float(vectors.lengths.max()) for vectors in (queries, documents) if len(vectors))
    # Float32 must not overflow, and a coarser precision of its products, which is global, has no such bound.
    return longest < 1e15 and _products_are_float32()


def _products_are_float32() -> bool:
    try:
        return torch.get_float32_matmul_precision() == "highest"
    except RuntimeError:  # it was set under the name of a backend
        return False


def best_products(best: Tensor, queries: DenseVectors, documents: DenseVectors, numbers: Tensor, k: int) -> Tensor:
    """Merge documents into the best so far, as a sort of all inner products in float64, rounded to float32, would.

    Time: a float32 matrix product and its comparison, for many documents in random order; at worst that, and a float64
    product and its sort.
    Memory: 2 to 4 million bytes, and documents and queries in float32.

    Args:
        best: Keys of the best documents of each query so far, best first, shape ``(Q, K)``, K at most k.
        queries: ``Q`` queries for which `can_prune` is true.
        documents: ``D`` documents.
        numbers: Numbers of the documents, shape ``(D,)``.
        k: Documents to keep, at least 1.

    Returns:
        Keys, shape ``(Q, min(k, K + D))``.

    Example:
        >>> queries, documents = (DenseVectors(torch.tensor(x), "dot") for x in ([[1.0]], [[0.5], [2.0]]))
        >>> keys = best_products(torch.empty(1, 0, dtype=torch.long), queries, documents, torch.arange(2), 1)
        >>> read_scores(keys)
        tensor([[2.]])
    """
    short, lengths = documents.vectors.float(), documents.lengths
    merged = []
    with torch.autocast("cpu", enabled=False):  # which would round to bfloat16
        for first in range(0, len(queries), _ROWS):
            rows = slice(first, first + _ROWS)
            block = _Block(queries.vectors[rows], queries.lengths[rows], best[rows], k)
            for start in range(0, len(documents), _DOCUMENTS):
                part = slice(start, start + _DOCUMENTS)
                block.add(documents.vectors[part], short[part], float(lengths[part].max()), numbers[part])
            merged.append(block.merge())
    return torch.cat(merged) if merged else best


class _Block:
    """A block of queries, their best documents so far, and pairs that wait to be merged with them."""

    def __init__(self, queries: Tensor, lengths: Tensor, best: Tensor, k: int) -> None:
        self.queries, self.lengths, self.best, self.k = queries, lengths, best, k
        self.short = queries.float().T.contiguous()
        self.pending: list[tuple[Tensor, Tensor]] = []
        self.threshold = self._least_of_best()

    def add(self, documents: Tensor, short: Tensor, longest: float, numbers: Tensor) -> None:
        """Note which documents may be among the best, or merge all if they may be many."""
        pairs = None if self.threshold is None else self._near(short, self.threshold, longest)
        if pairs is None:
            keys = make_keys(self.queries @ documents.T, numbers)
            self.best = keep_best(self.merge(), keys, self.k)
            self.threshold = self._least_of_best()
            return
        places, rows = pairs
        for start in range(0, len(rows), _PAIRS):
            place, row = places[start : start + _PAIRS], rows[start : start + _PAIRS]
            products = torch.linalg.vecdot(self.queries[row], documents[place])
            self.pending.append((row, make_keys(products, numbers[place])))
        if sum(len(row) for row, _ in self.pending) > self.best.numel() // 2:
            self.merge()

    def merge(self) -> Tensor:
        """Merge the pairs that wait, and return the best keys."""
        if self.pending:
            rows, keys = (torch.cat(part) for part in zip(*self.pending, strict=True))
            self.pending = []
            self.best = keep_best(self.best, by_row(rows, keys, len(self.best)), self.k)
            self.threshold = self._least_of_best()
        return self.best

    def _least_of_best(self) -> Tensor | None:
        """Return a bound of the similarities that round to that of the last of k documents; None with fewer."""
        if self.best.shape[1] < self.k:
            return None
        last = read_scores(self.best[:, -1])
        return last.nextafter(last.new_tensor(-math.inf)).double()

    def _near(self, short: Tensor, threshold: Tensor, longest: float) -> tuple[Tensor, Tensor] | None:
        """Return the places and rows of pairs that may reach the threshold; None if many may."""
        # A product is a sum of dim terms in any order, of factors that are rounded before; the small terms: underflow.
        relative = 2.0**-24 * self.lengths * longest
        error = (len(self.short) + 4) * (relative + 2.0**-149 * (1 + self.lengths + longest))
        return _at_least(short @ self.short, threshold - error)


def _at_least(similarity: Tensor, threshold: Tensor) -> tuple[Tensor, Tensor] | None:
    """Return the places of documents, and the rows of queries, that reach the query's threshold; None if many do.

    ``similarity`` has the shape ``(documents, queries)``; ``threshold``, ``(queries,)``, is in float64.
    """
    threshold = threshold.float().nextafter(torch.tensor(-math.inf))  # not rounded up
    size = math.gcd(len(similarity), _GROUP)
    groups, rows = (similarity.view(-1, size, len(threshold)).amax(1) >= threshold).nonzero(as_tuple=True)
    if len(rows) > _MOST * similarity.numel():
        return None
    places = (groups[:, None] * size + torch.arange(size)).flatten()
    rows = rows.repeat_interleave(size)
    reached = similarity[places, rows] >= threshold[rows]
    if int(reached.sum()) > _MOST * similarity.numel():
        return None
    return places[reached], rows[reached]
