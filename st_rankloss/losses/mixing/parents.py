"""The parents of each query's own mixtures: documents drawn from a pool."""

from __future__ import annotations

import torch
from torch import Tensor

from st_rankloss.losses.mixing.base import place_of


def hardest_of(pool: Tensor, similarity: Tensor, count: int | None) -> Tensor:
    """Keep the most similar documents of each query's pool.

    Args:
        pool: The documents to choose from, ``(Q, D)``, bool.
        similarity: Shape ``(Q, D)``.
        count: How many to keep, at least 1; None keeps all.

    Returns:
        Shape ``(Q, D)``, bool.

    Example:
        >>> hardest_of(torch.tensor([[True, True, False, True]]), torch.tensor([[0.1, 0.3, 0.9, 0.2]]), 2)
        tensor([[False,  True, False,  True]])
    """
    if count is None or count >= pool.shape[1]:
        return pool
    hardest = torch.where(pool, similarity, -torch.inf).topk(count, dim=1).indices
    return torch.zeros_like(pool).scatter(1, hardest, True) & pool


def pick(pool: Tensor, draws: Tensor) -> Tensor:
    """Return the index of a document of each query's pool per draw.

    Args:
        pool: The documents to choose from, ``(Q, D)``, bool.
        draws: Numbers in [0, 1), ``(Q, n)``.

    Returns:
        Indices of documents, ``(Q, n)``; of any document if the pool is empty.

    Example:
        >>> pick(torch.tensor([[False, True, False, True]]), torch.tensor([[0.0, 0.4, 0.6]]))
        tensor([[1, 1, 3]])
    """
    return _nth(pool, place_of(draws, _size(pool)))


def pick_two(pool: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Return two documents of each query's pool per draw, different ones if there are two.

    Args:
        pool: The documents to choose from, ``(Q, D)``, bool.
        first: Numbers in [0, 1), ``(Q, n)``.
        second: The same.

    Returns:
        Indices of documents, ``(Q, n)`` each.

    Example:
        >>> pick_two(torch.tensor([[False, True, True]]), torch.tensor([[0.0, 0.9]]), torch.tensor([[0.0, 0.0]]))
        (tensor([[1, 2]]), tensor([[2, 1]]))
    """
    size = _size(pool)
    place = place_of(first, size)
    steps = 1 + place_of(second, (size - 1).clamp_min(1))
    return _nth(pool, place), _nth(pool, (place + steps) % size)


def _size(pool: Tensor) -> Tensor:
    return pool.sum(1, keepdim=True).clamp_min(1)


def _nth(pool: Tensor, place: Tensor) -> Tensor:
    """Return the index of the document at a place in each query's pool."""
    seen = pool.cumsum(1)
    return torch.searchsorted(seen, (place + 1).contiguous()).clamp_max(pool.shape[1] - 1)
