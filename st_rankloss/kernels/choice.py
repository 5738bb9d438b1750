"""Which method computes the sums of a block."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from st_rankloss.kernels.dense import dense_sum
from st_rankloss.kernels.grid import fits, grid_sum
from st_rankloss.kernels.relevant import relevant_sum

METHODS: dict[str, Callable[[Tensor, Tensor, float, Tensor, str], Tensor]] = {
    "dense": dense_sum,
    "relevant": relevant_sum,
    "grid": grid_sum,
}


def choose_method(queries: int, documents: int, ranked: int, device: torch.device) -> str:
    """Choose the fastest method for a block of the given sizes.

    The thresholds come from timings of forward and backward on one core of a server CPU (AMD EPYC), float32,
    temperature 0.05: ``dense`` wins up to 2^18 pairs in all; beyond, ``relevant`` takes 2.2 ns for each pair, ``grid``
    8 µs for each query, 18 ns for each document and 30 ns for each ranked document. On other devices they are
    estimates, not measured.

    Args:
        queries: Number of query rows Q.
        documents: Number of documents D of each query.
        ranked: Number of documents P of each query that need a rank.
        device: Where the similarities are.

    Returns:
        A key of `METHODS`.

    Example:
        >>> cpu = torch.device("cpu")
        >>> choose_method(64, 4096, 2, cpu), choose_method(64, 4096, 4096, cpu), choose_method(4, 8, 8, cpu)
        ('relevant', 'grid', 'dense')
    """
    if queries * documents * ranked <= 2**18:
        return "dense"
    if device.type == "cpu":
        return "relevant" if 2.2 * ranked * documents <= 8_000 + 18 * documents + 30 * ranked else "grid"
    return "relevant" if ranked <= 256 else "grid"


def sum_pairs(
    similarity: Tensor, columns: Tensor, temperature: float, weights: Tensor, kernel: str, method: str
) -> Tensor:
    """Compute sums over pairs by the named method, ``"auto"`` for the fastest; see `dense_sum`."""
    if method == "auto":
        method = choose_method(similarity.shape[0], similarity.shape[1], columns.shape[1], similarity.device)
        if method == "grid" and not fits(similarity, temperature):
            method = "relevant"
    return METHODS[method](similarity, columns, temperature, weights, kernel)
