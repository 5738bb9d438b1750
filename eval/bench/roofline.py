"""What a machine can do, measured, and the least time in which it could do what a loss must."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

import torch

from eval.bench.timing import DIMENSIONS, seconds_of

FLOAT = 4
"""Bytes."""

IN_CACHE = 2**16
"""Numbers that stay in a core's cache."""


@dataclass(frozen=True)
class Rates:
    """What the machine does per second, each measured alone."""

    bytes: float
    """Bytes read and written by a copy larger than the caches."""
    flops: float
    """Multiplications and additions of a matrix product with as many dimensions as the embeddings."""
    exponentials: float
    """`exp` of numbers in cache."""
    divisions: float
    """Reciprocals of numbers in cache."""


def measure_rates(device: str) -> Rates:
    """Measure bandwidth, matrix products, exponentials and divisions."""
    source = torch.ones(2**26, device=device)
    target = torch.empty_like(source)
    left, right = torch.randn(2048, DIMENSIONS, device=device), torch.randn(DIMENSIONS, 4096, device=device)
    product = torch.empty(2048, 4096, device=device)
    return Rates(
        2 * FLOAT * len(source) / _median(lambda: target.copy_(source), device),
        2 * product.numel() * DIMENSIONS / _median(lambda: torch.mm(left, right, out=product), device),
        _in_cache(torch.exp, device),
        _in_cache(torch.reciprocal, device),
    )


def _in_cache(function: Callable[..., object], device: str) -> float:
    """Return how many numbers a function takes per second if memory does not limit it."""
    numbers = torch.rand(IN_CACHE, device=device)
    values = torch.empty_like(numbers)

    def repeated() -> None:
        for _ in range(64):
            function(numbers, out=values)

    return 64 * IN_CACHE / _median(repeated, device)


def _median(action: Callable[[], object], device: str) -> float:
    action()
    return statistics.median(seconds_of(action, device) for _ in range(5))


def least_seconds(batch: int, ranked: int, rates: Rates) -> dict[str, float]:
    """Return the least time of a loss by part, if no part overlaps with another.

    Args:
        batch: Queries, and documents per query.
        ranked: Relevant documents per query, whose ranks are needed.
        rates: Of the machine.

    Returns:
        Seconds: for three matrix products (similarities, and the gradients of both columns); for similarities and their
        gradient, each written once and read once; for an exponential per query and document; and for a division per
        query, document and ranked document, as exact ranks need, σ(a - b) being 1 / (1 + e^b e^-a). If all documents
        are ranked, a grid needs none.
    """
    entries = batch * batch
    return {
        "products": 3 * 2 * entries * DIMENSIONS / rates.flops,
        "memory": 4 * FLOAT * entries / rates.bytes,
        "exponentials": entries / rates.exponentials,
        "pairs": entries * (ranked if ranked < batch else 0) / rates.divisions,
    }
