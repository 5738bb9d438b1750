"""Sums over pairs by Triton kernels, in which a GPU decides per query how to compute them, and the host never waits."""

from __future__ import annotations

import math
import os
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from st_rankloss.kernels import triton_grid, triton_relevant
from st_rankloss.kernels.pair_sums import KERNELS

FEW = 64
"""Number of listed documents up to which a query is summed exactly, whatever its range."""

MOST_NODES = 2**12
"""Space for the nodes of a query; one that needs more is summed exactly."""

WINDOW = (2**12, 2**14)
"""Least and largest number of cells around the mean of a query's similarities in which there may be nodes."""

BLOCK = 1024
"""Documents at once where each is read once."""

PULLED = (8, 512)
"""Listed documents and all documents at once where the gradient is computed."""

GATHERED = 256
"""Documents at once where each needs many numbers from nodes."""

PAIRS = {2: (8, 128), 4: (4, 128), 5: (4, 128)}
"""Targets and sources at once, which share registers, by the number of sums per target."""

_PROGRAMS = 4096  # enough to fill a GPU


class _Scale(NamedTuple):
    """The temperature, as kernels take it."""

    rate_high: float  # log2(e)/τ to 12 bits
    rate_low: float  # the rest of it
    cells: float  # cells per unit of similarity, a power of two


class _Listing(NamedTuple):
    """The documents of each query that need a sum, see `triton_relevant.list_documents`."""

    values: Tensor  # (Q, P)
    slots: Tensor  # (Q, P) int32
    counts: Tensor  # (Q,) int32
    moments: Tensor  # (Q, 3)


class _Nodes(NamedTuple):
    """The places at which a query is summed, see `triton_grid.list_nodes`."""

    counts: Tensor  # (Q,) int32: 0 where a query is summed exactly
    positions: Tensor  # (Q, most)
    slots: Tensor  # (Q, window) int32

    @property
    def most(self) -> int:
        return self.positions.shape[1]

    @property
    def window(self) -> int:
        return self.slots.shape[1]


def _scale_of(temperature: float) -> _Scale:
    rate = min(math.log2(math.e) / temperature, 2.0**120)
    mantissa, exponent = math.frexp(rate)
    high = math.ldexp(round(mantissa * 2**12), exponent - 12)
    cells = math.frexp(0.75 * temperature)[1]
    return _Scale(high, rate - high, 2.0 ** min(max(1 - cells, -120), 120))


def _launch(kernel: Any, grid: tuple[int, ...], *arguments: Any, **sizes: int) -> None:
    """Run the programs of a kernel on the device of its first argument."""
    with torch.cuda.device_of(arguments[0]):
        kernel[grid](*arguments, **sizes)


def _shares(queries: int, items: int, at_once: int) -> tuple[int, int]:
    """Return the grid of programs that share the items of each query, but for no more than fill a GPU."""
    return queries, max(1, min(-(-items // at_once), _PROGRAMS // queries))


def _list(similarity: Tensor, columns: Tensor, listed: Tensor, scale: _Scale) -> _Listing:
    queries, documents = similarity.shape
    ranked = columns.shape[1]
    values = similarity.new_empty(queries, ranked)
    slots, counts = (
        columns.new_empty((queries, ranked), dtype=torch.int32),
        columns.new_empty(queries, dtype=torch.int32),
    )
    listing = _Listing(values, slots, counts, similarity.new_empty(queries, 3))
    _launch(
        triton_relevant.list_documents,
        (queries,),
        similarity,
        columns,
        listed.view(torch.uint8),
        *listing,
        documents,
        ranked,
        *columns.stride(),
        scale.rate_high,
        scale.rate_low,
        BLOCK=BLOCK,
    )
    return listing


def _nodes_for(values: Tensor, sizes: Tensor, moments: Tensor, cells: float) -> _Nodes:
    """Choose the nodes of each query, from which to read sums at the first ``sizes`` of its ``values``."""
    queries, row = values.shape
    counts = torch.zeros_like(sizes)
    if row <= FEW or values.dtype != torch.float32:  # float64 is worth an exact sum
        return _Nodes(counts, values[:, :0], sizes.new_empty(queries, 0))
    window = min(max(WINDOW[0], 2 << row.bit_length()), WINDOW[1])
    nodes = _Nodes(counts, values.new_empty(queries, min(MOST_NODES, row // 2)), sizes.new_empty(queries, window))
    marks = torch.zeros(queries, window, dtype=torch.uint8, device=values.device)
    blocked = torch.zeros_like(sizes)
    _launch(
        triton_grid.mark_nodes,
        _shares(queries, row, BLOCK),
        values,
        sizes,
        moments,
        marks,
        blocked,
        row,
        window,
        cells,
        BLOCK=BLOCK,
    )
    _launch(
        triton_grid.list_nodes,
        (queries,),
        sizes,
        moments,
        marks,
        blocked,
        nodes.positions,
        nodes.slots,
        counts,
        nodes.most,
        nodes.window,
        cells,
        BLOCK=BLOCK,
    )
    return nodes


def _sum_at_nodes(
    nodes: _Nodes, sources: Tensor, masses: Tensor, listing: _Listing, scale: _Scale, *, order: int, pull: bool
) -> Tensor:
    """Sum over all documents, or for a ``pull`` over the listed ones, at the nodes: ``(Q, terms, most)``."""
    queries, row = sources.shape
    terms = 4 if pull else 5
    few, tile = PAIRS[terms]
    sums = sources.new_empty(queries, terms, nodes.most)
    if nodes.most:
        _launch(
            triton_grid.sum_at_nodes,
            _shares(queries, nodes.most, few),
            sources,
            masses,
            listing.slots,
            listing.counts,
            listing.moments,
            nodes.positions,
            nodes.counts,
            sums,
            row,
            nodes.most,
            scale.rate_high,
            scale.rate_low,
            SIGN=-1 if pull else 1,
            ORDER=order,
            TERMS=terms,
            LISTED=pull,
            FEW=few,
            TILE=tile,
        )
    return sums


def _totals_and_slopes(
    similarity: Tensor, columns: Tensor, weights: Tensor, listed: Tensor, scale: _Scale, order: int
) -> tuple[Tensor, Tensor]:
    (queries, documents), ranked = similarity.shape, columns.shape[1]
    totals, slopes = similarity.new_zeros(columns.shape), similarity.new_zeros(columns.shape)
    listing = _list(similarity, columns, listed, scale)
    sizes = torch.where(listing.counts > FEW, listing.counts, 0)
    nodes = _nodes_for(listing.values, sizes, listing.moments, scale.cells)
    few, tile = PAIRS[2]
    _launch(
        triton_relevant.sum_exactly,
        _shares(queries, ranked, few),
        similarity,
        weights,
        columns,
        listing.values,
        listing.slots,
        listing.counts,
        nodes.counts,
        listing.moments,
        totals,
        slopes,
        documents,
        ranked,
        *columns.stride(),
        scale.rate_high,
        scale.rate_low,
        ORDER=order,
        FEW=few,
        TILE=tile,
    )
    if nodes.most:
        sums = _sum_at_nodes(nodes, similarity, weights, listing, scale, order=order, pull=False)
        _launch(
            triton_grid.read_listed,
            _shares(queries, ranked, GATHERED),
            columns,
            weights,
            listing.values,
            listing.slots,
            listing.counts,
            listing.moments,
            nodes.counts,
            nodes.slots,
            sums,
            totals,
            slopes,
            documents,
            ranked,
            nodes.most,
            nodes.window,
            *columns.stride(),
            scale.cells,
            scale.rate_high,
            scale.rate_low,
            ORDER=order,
            BLOCK=GATHERED,
        )
    return totals, slopes


def _gradient(
    similarity: Tensor,
    columns: Tensor,
    weights: Tensor,
    listed: Tensor,
    slopes: Tensor,
    grad: Tensor,
    scale: _Scale,
    order: int,
) -> Tensor:
    (queries, documents), ranked = similarity.shape, columns.shape[1]
    gradient = torch.empty_like(similarity)
    listing = _list(similarity, columns, listed, scale)
    sizes = torch.where(listing.counts > FEW, documents, 0).to(torch.int32)
    nodes = _nodes_for(similarity, sizes, listing.moments, scale.cells)
    sums = _sum_at_nodes(nodes, listing.values, grad, listing, scale, order=order + 1, pull=True)
    few, tile = PULLED
    _launch(
        triton_relevant.pull_documents,
        (queries, -(-documents // tile)),
        similarity,
        weights,
        listing.values,
        listing.slots,
        listing.counts,
        grad,
        listing.moments,
        nodes.counts,
        nodes.slots,
        sums,
        gradient,
        documents,
        ranked,
        nodes.most,
        nodes.window,
        scale.cells,
        scale.rate_high,
        scale.rate_low,
        ORDER=order,
        FEW=few,
        BLOCK=tile,
    )
    _launch(
        triton_relevant.push_listed,
        _shares(queries, ranked, BLOCK),
        columns,
        listing.slots,
        listing.counts,
        grad,
        slopes,
        gradient,
        documents,
        ranked,
        *columns.stride(),
        scale.rate_high,
        scale.rate_low,
        BLOCK=BLOCK,
    )
    return gradient


class _TritonSum(torch.autograd.Function):
    """`triton_sum` of contiguous tensors, with an analytic gradient as in `pair_sums`."""

    @staticmethod
    def forward(
        ctx: Any, similarity: Tensor, columns: Tensor, temperature: float, weights: Tensor, order: int, listed: Tensor
    ) -> Tensor:
        scale = _scale_of(temperature)
        totals, slopes = _totals_and_slopes(similarity, columns, weights, listed, scale, order)
        ctx.save_for_backward(similarity, columns, weights, listed, slopes)
        ctx.scale, ctx.order = scale, order
        return totals

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        similarity, columns, weights, listed, slopes = ctx.saved_tensors
        gradient = _gradient(similarity, columns, weights, listed, slopes, grad.contiguous(), ctx.scale, ctx.order)
        return gradient, None, None, None, None, None


def triton_sum(
    similarity: Tensor,
    columns: Tensor,
    temperature: float,
    weights: Tensor,
    kernel: str = "sigmoid",
    listed: Tensor | None = None,
) -> Tensor:
    """Compute the sums on a GPU by Triton kernels; memory O(Q · D).

    The device counts the listed documents L of each query, and decides: time O(L · D) for exact sums, or O(M · D) for
    sums at M nodes, of which there are about two per temperature of the range, if M is less than half of L. Sums are
    exact to float32, nodes add errors of less than 1e-7 of D; float64 is always summed exactly. The same input
    gives the same bits. Its speed has not been measured on a GPU: only values and gradients are tested, in Triton's
    interpreter.

    Args:
        similarity: Predicted similarity, shape ``(Q, D)``, float32 or float64, finite, on a CUDA device.
        columns: The documents j of each query, shape ``(Q, P)``, int64 in [0, D).
        temperature: τ, above 0, in units of ``similarity``.
        weights: Weight v_k of each document k, at least 0, shape ``(Q, D)``; not differentiated.
        kernel: K, ``"sigmoid"`` or ``"softplus"``.
        listed: Which documents in ``columns`` need a sum, shape ``(Q, P)``, bool; others get 0 without gradient, and
            cost nothing. None means all.

    Returns:
        The sums, shape ``(Q, P)``.

    Raises:
        ValueError: If ``similarity`` is not on a CUDA device.
        ImportError: If triton is not installed.
    """
    if similarity.device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        raise ValueError(
            f"method='triton' needs similarity on a CUDA device, got {similarity.device}: pass method='auto'."
        )
    if not columns.numel():
        return similarity.gather(1, columns)
    listed = torch.ones_like(columns, dtype=torch.bool) if listed is None else listed
    sums: Tensor = _TritonSum.apply(
        similarity.contiguous(), columns, temperature, weights.contiguous(), KERNELS[kernel], listed.contiguous()
    )
    return sums
