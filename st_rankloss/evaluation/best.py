"""The best documents of each query so far, as sortable keys.

A key is one int64 that sorts by score, then by lower number, so that ``topk`` has no ties to break: the float32 bits of
the score in the upper half, the number counted downwards in the lower half.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

_LOW_BITS = 0xFFFFFFFF
NOTHING = -(2**63)
"""The key of a place that no document has yet; it sorts below those of all scores."""


def make_keys(scores: Tensor, numbers: Tensor) -> Tensor:
    """Return the keys of documents.

    Args:
        scores: Any floating type, not NaN; rounded to float32.
        numbers: Numbers of the documents, from 0 to 2^32 - 1, of a shape that broadcasts.

    Returns:
        The keys, of the shape of ``scores``.

    Example:
        >>> keys = make_keys(torch.tensor([0.5, 0.7, 0.5]), torch.arange(3))
        >>> keys.argsort(descending=True)
        tensor([1, 0, 2])
    """
    scores = scores.float() + 0.0  # + 0.0: -0.0 becomes 0.0
    return (_flip_negative(scores.view(torch.int32)).long() << 32) | (_LOW_BITS - numbers)


def read_scores(keys: Tensor) -> Tensor:
    """Return the scores of keys; NaN for `NOTHING`."""
    return _flip_negative((keys >> 32).to(torch.int32)).view(torch.float32)


def read_keys(keys: Tensor) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the scores and numbers of keys; a place of `NOTHING` has the number -1.

    Args:
        keys: Keys of any shape.

    Returns:
        Scores and numbers.

    Example:
        >>> read_keys(make_keys(torch.tensor([0.5]), torch.tensor([7])))
        (array([0.5000], dtype=float32), array([7]))
    """
    numbers = (_LOW_BITS - (keys & _LOW_BITS)).masked_fill(keys == NOTHING, -1)
    return read_scores(keys).cpu().numpy(), numbers.cpu().numpy()


def keep_best(best: Tensor, keys: Tensor, k: int) -> Tensor:
    """Return the k best keys of each row, best first: of those so far, and others in any order.

    Args:
        best: Shape ``(Q, K)``.
        keys: Shape ``(Q, M)``.
        k: At least 1.

    Returns:
        Shape ``(Q, min(k, K + M))``.
    """
    keys = torch.cat([best, keys.topk(min(k, keys.shape[1])).values], dim=-1)
    return keys.topk(min(k, keys.shape[-1])).values


def by_row(rows: Tensor, keys: Tensor, count: int) -> Tensor:
    """Lay out keys of some rows as a matrix, filled up with `NOTHING`.

    Args:
        rows: The row of each key, shape ``(N,)``.
        keys: Shape ``(N,)``.
        count: Number of rows.

    Returns:
        Shape ``(count, most keys of a row)``.

    Example:
        >>> by_row(torch.tensor([1, 0, 1]), torch.tensor([5, 6, 7]), 2).sort(descending=True).values[1]
        tensor([7, 5])
    """
    rows, order = rows.sort()
    sizes = rows.bincount(minlength=count)
    column = torch.arange(len(rows), device=rows.device) - (sizes.cumsum(0) - sizes)[rows]
    laid_out = keys.new_full((count, int(sizes.max())), NOTHING)
    laid_out[rows, column] = keys[order]
    return laid_out


def pad(keys: Tensor, width: int) -> Tensor:
    """Fill up rows with `NOTHING` to a width."""
    return F.pad(keys, (0, width - keys.shape[1]), value=NOTHING)


def _flip_negative(bits: Tensor) -> Tensor:
    """Map float32 bits to integers in the order of the floats; the map is its own inverse."""
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)
