"""Choice of the method for the sums of a block."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from st_rankloss.kernels.dense import dense_sum
from st_rankloss.kernels.grid import SPACING, count_nodes, grid_sum, is_wide, nearest_span, span_of
from st_rankloss.kernels.relevant import WIDEST, relevant_sum


def _triton_sum(*arguments: Any) -> Tensor:
    """Import Triton only when it is used: it is large, and few machines have it."""
    from st_rankloss.kernels.triton_sum import triton_sum

    return triton_sum(*arguments)


METHODS: dict[str, Callable[..., Tensor]] = {
    "dense": dense_sum,
    "relevant": relevant_sum,
    "grid": grid_sum,
    "triton": _triton_sum,
}
"""The methods of computing sums over pairs, by name."""


@lru_cache(maxsize=64)
def has_triton(device: torch.device) -> bool:
    """Return whether Triton is installed and can compile for the device."""
    if device.type != "cuda" or find_spec("triton") is None:
        return False
    return torch.cuda.get_device_capability(device) >= (7, 0)


def choose_method(queries: int, documents: int, ranked: int, device: torch.device, nodes: int = 0) -> str:
    """Choose the fastest method for a block of the given sizes.

    The costs come from timings of forward and backward on one core of a server CPU (AMD EPYC), float32: ``dense`` wins
    up to 2^18 pairs in total; beyond that, ``relevant`` takes 5 ns per document and 1.6 ns per pair (5.5 ns if the
    similarities range too widely for one exponential per document), and ``grid`` 5 µs per query, 40 ns per document, 40
    ns per ranked document and 200 ns per node. Only their ratios matter. On a GPU with Triton, ``triton`` takes all but
    tiny blocks; on other devices, where the number of nodes is constant, the costs are estimates, not measurements.

    Args:
        queries: Number of query rows Q.
        documents: Number of documents D per query.
        ranked: Number of documents P per query that need a rank.
        device: The device of the similarities.
        nodes: Number of nodes that the grid needs; see `st_rankloss.kernels.grid`.

    Returns:
        A key of `METHODS`.

    Example:
        >>> cpu = torch.device("cpu")
        >>> choose_method(64, 4096, 2, cpu), choose_method(64, 4096, 4096, cpu), choose_method(4, 8, 8, cpu)
        ('relevant', 'grid', 'dense')
        >>> choose_method(64, 4096, 64, cpu, nodes=120), choose_method(64, 4096, 64, cpu, nodes=30_000)
        ('grid', 'relevant')
    """
    if queries * documents * ranked <= 2**18:
        return "dense"
    if has_triton(device):
        return "triton"
    if device.type == "cpu":
        by_grid = 5_000 + 40 * documents + 40 * ranked + 200 * nodes
        per_pair = 1.6 if nodes * SPACING <= WIDEST else 5.5
        return "relevant" if (5 + per_pair * ranked) * documents <= by_grid else "grid"
    return "relevant" if ranked <= 256 else "grid"


def _fastest(similarity: Tensor, ranked: int, temperature: float) -> str:
    """Choose by size and, on a CPU, by the number of nodes, which is counted only if it may matter."""
    queries, documents = similarity.shape

    def with_nodes(nodes: int) -> str:
        return choose_method(queries, documents, ranked, similarity.device, nodes)

    if similarity.device.type != "cpu" or with_nodes(0) != "grid":
        return with_nodes(0)
    span = span_of(similarity, temperature)
    if not is_wide(span, documents):
        return with_nodes(count_nodes(span, similarity.dtype))
    sorting = documents  # the cost of sorting, in nodes
    if with_nodes(sorting) != "grid":
        return with_nodes(sorting)
    return with_nodes(sorting + count_nodes(nearest_span(similarity, temperature), similarity.dtype))


def sum_pairs(
    similarity: Tensor,
    columns: Tensor,
    temperature: float,
    weights: Tensor,
    kernel: str,
    method: str,
    listed: Tensor | None = None,
) -> Tensor:
    """Compute sums over pairs with the named method, or the fastest for ``"auto"``; see `dense_sum`.

    Weights may be a mask of the documents to count, among them those that are ``listed``.
    The sums of documents that are not ``listed``, shape ``(Q, P)``, are finite but unspecified. Only ``triton`` saves
    their cost: elsewhere `list_columns` counts them first.
    """
    if method == "auto":
        method = _fastest(similarity, columns.shape[1], temperature)
    if method != "relevant":
        weights = weights.to(similarity.dtype)
    arguments = (similarity, columns, temperature, weights, kernel)
    return METHODS[method](*arguments, listed) if method == "triton" else METHODS[method](*arguments)
