r"""Soft ranks in sub-cubic time: a one-dimensional kernel sum on a uniform grid.

The sum Σ_k v_k K((s_k - s_j)/τ) has a smooth kernel, so it needs no pairs:

0. shorten wide gaps: a gap between neighbours counts as R·τ at most, where σ is 0 or 1;
1. lay a uniform grid of spacing c·τ over each query's similarities;
2. spread each document's weight onto the nearest nodes with B-splines of order p (p scatter-adds);
3. convolve the nodes with the kernel (FFT), undoing the blur of both B-splines in Fourier space;
4. read the result at each ranked document through the same B-splines (p gathers).

Splines with their blur undone interpolate, far more accurately than Lagrange polynomials of equal order. Weights are
spread by moments: within a cell, every B-spline is a polynomial of the document's offset t, so a cell needs only
Σ v t^m (m < p).

Step 0 changes the sums of sigmoids by less than e^-R each, and softplus by the part cut from |x|/2, which sorted prefix
sums restore. So M, the number of nodes of a query, depends on its similarities, but never exceeds R/c per document:
neither an outlier nor a small temperature makes the grid larger or less exact.

Node arithmetic is float64 (float32 on devices without it): sums of thousands of equal float32 terms, as from tied
documents, would lose precision.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from scipy.fft import next_fast_len
from torch import Tensor

from st_rankloss.kernels.pair_sums import AT_ZERO, KERNELS, PairSum, PairSums, are_all

SPACING = 1 / 3
"""Node spacing in units of the temperature."""

ORDER = {torch.float32: 6, torch.float64: 14}
"""Spline order (even) by the dtype of the similarities."""

REACH = {torch.float32: 20.0, torch.float64: 32.0}
"""R, the widest gap between neighbours, in units of the temperature, by the dtype of the similarities."""

GPU_NODES = 2**14
"""Number of nodes on a GPU, where reading the required number would make the host wait. They cover 5,461 temperatures,
with gaps counting as R at most; an assertion on the device rejects wider similarities."""

SORTED_FROM = 4
"""Nodes per document above which a CPU sorts the similarities to shorten gaps; below, sorting costs more."""

_ENTRIES_AT_ONCE = {"cpu": 2**18, "cuda": 2**24}
_KEPT = 2**20  # most entries whose positions are kept for backward, 16 bytes each
_FADE = 48  # nodes


class _Layout(NamedTuple):
    """The positions of the documents on the grid."""

    first: Tensor  # (Q, D) int64: leftmost of the document's p nodes
    offset: Tensor  # (Q, D) in [0, 1): position within the cell
    nodes: int
    order: int
    ascending: Tensor | None = None  # (Q, D) int64: the documents by similarity, if gaps were cut
    cut: Tensor | None = None  # (Q, D): temperatures cut, in that order

    def at(self, columns: Tensor) -> _Layout:
        """Return the same grid with only the documents in ``columns``."""
        if are_all(columns, self.first):
            return self
        return self._replace(first=self.first.gather(1, columns), offset=self.offset.gather(1, columns))


def reads_back(device: torch.device) -> bool:
    """Return whether the host may read values: on a CPU, or on MPS, which has no device assertions."""
    return device.type in ("cpu", "mps")


def count_nodes(span: float, dtype: torch.dtype) -> int:
    """Return the number of nodes for a range of ``span`` temperatures, rounded up by at most 1/8.

    With few distinct numbers, few distinct kernels need to be transformed.
    """
    least = math.ceil(span / SPACING) + ORDER[dtype] + 1
    step: int = max(16, 2 ** (least.bit_length() - 4))
    return step * math.ceil(least / step)


def span_of(similarity: Tensor, temperature: float) -> float:
    """Return the widest range of a query's similarities, in temperatures; waits for the device."""
    low, high = similarity.detach().amin(dim=1), similarity.detach().amax(dim=1)  # faster than aminmax(dim=1)
    return (high.double() - low.double()).max().item() / temperature


def _lay(similarity: Tensor, temperature: float) -> _Layout:
    dtype, device = similarity.dtype, similarity.device
    wide = torch.float32 if device.type == "mps" else torch.float64
    ascending = cut = None
    if reads_back(device) and not is_wide(span := span_of(similarity, temperature), similarity.shape[1]):
        place = similarity.to(wide)
        place = (place - place.amin(dim=1, keepdim=True)).div_(temperature)
    else:
        place, ascending, cut = _bring_nearer(similarity, temperature, wide)
        span = place.max().item() if reads_back(device) else 0.0
    nodes = count_nodes(span, dtype) if reads_back(device) else GPU_NODES
    if not reads_back(device):
        reach = (nodes - ORDER[dtype] - 1) * SPACING
        # An assertion on the device: nothing waits, and no wrong gradient is used.
        torch._assert_async(
            place.amax() < reach,
            f"similarities over temperature range too widely for method='grid' on a GPU, which covers {reach:.0f} "
            "temperatures, excluding wide gaps: pass method='relevant', a higher temperature or cosines.",
        )
    place = place.div_(SPACING)
    cell = place.floor()
    return _Layout(cell.long(), place.sub_(cell), nodes, ORDER[dtype], ascending, cut)


def is_wide(span: float, documents: int) -> bool:
    """Return whether a range may have gaps worth cutting; otherwise sorting would cost more than it saves."""
    return span / SPACING > SORTED_FROM * documents + 16


def _bring_nearer(similarity: Tensor, temperature: float, wide: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Return positions from 0 in temperatures without gaps above R, the documents in ascending order, and the cuts."""
    values, ascending = similarity.sort(dim=1)
    values = values.to(wide)
    gaps = values.diff(dim=1, prepend=values[:, :1]).div_(temperature)
    near = gaps.clamp_max(REACH[similarity.dtype])
    cut = (gaps - near).cumsum(dim=1)
    place = torch.empty_like(values).scatter_(1, ascending, near.cumsum(dim=1))
    return place, ascending, cut


def nearest_span(similarity: Tensor, temperature: float) -> float:
    """Return the widest range in temperatures, with gaps counting as R at most; waits for the device."""
    return _bring_nearer(similarity.detach(), temperature, torch.float64)[0].max().item()


@lru_cache(maxsize=16)
def _spline_pieces(order: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the coefficients ``[a, m]`` of t^m in the B-spline of node a, counted from a cell's leftmost node."""
    pieces = np.ones((1, 1))  # [j, m]: t^m on the j-th unit interval of the spline's support
    for degree in range(1, order):
        rising = np.pad(pieces, ((0, 1), (0, 1)))
        falling = np.pad(pieces, ((1, 0), (0, 1)))
        interval = np.arange(degree + 1)[:, None]
        times_t = np.roll(rising - falling, 1, axis=1)
        pieces = (times_t + interval * rising + (degree + 1 - interval) * falling) / degree
    return torch.tensor(pieces[::-1].copy(), dtype=dtype).to(device, non_blocking=True)


def _transform_length(nodes: int) -> int:
    length: int = next_fast_len(2 * (nodes + _FADE), real=True)
    return length


def _spectrum(nodes: int, order: int, kernel_order: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the transform of the kernel at the node distances, with the blur of two splines divided out."""
    length = _transform_length(nodes)
    lag = torch.arange(length, device=device, dtype=dtype)
    lag = torch.where(lag > length // 2, lag - length, lag)
    kernel = _even_or_odd(-lag * SPACING, kernel_order)
    # Distances beyond those of any two nodes fade out smoothly: a jump at the wrap-around would cause ringing.
    kernel = kernel * torch.special.erfc((lag.abs() - nodes - _FADE / 2) / 4).mul_(0.5)
    spline = torch.zeros(length, dtype=dtype, device=device)
    at_nodes = _spline_pieces(order, dtype, device)[:-1, 0]
    spline[torch.arange(1 - order // 2, order // 2, device=device)] = at_nodes
    spectrum: Tensor = torch.fft.rfft(kernel) / torch.fft.rfft(spline).real.square()
    return spectrum


_small_spectrum, _large_spectrum = (lru_cache(maxsize=most)(_spectrum) for most in (64, 4))


def _even_or_odd(x: Tensor, kernel_order: int) -> Tensor:
    """Return the kernel minus a part that needs no grid: softplus - x/2 (even) or σ - ½ (odd)."""
    if kernel_order == 0:
        return 0.5 * x.abs() + torch.log1p(torch.exp(-x.abs()))
    return torch.sigmoid(x) - 0.5


def _linear_part(similarity: Tensor, columns: Tensor, temperature: float, weights: Tensor) -> Tensor:
    """Compute Σ_k v_k x_jk/2 for j in ``columns``, the part of a sum of softplus that no grid needs to sum."""
    similarity = similarity.to(weights.dtype)
    moment = (weights * similarity).sum(1, keepdim=True)
    return (moment - similarity.gather(1, columns) * weights.sum(1, keepdim=True)) / (2 * temperature)


def _cut_from_softplus(weights: Tensor, ascending: Tensor, cut: Tensor) -> Tensor:
    """Compute ½ Σ_k v_k (|x_jk| - |x'_jk|) for every document j, with x' the difference after cuts: ``(Q, D)``."""
    weight = weights.gather(1, ascending)
    up_to, moment = weight.cumsum(1), (weight * cut).cumsum(1)
    both = cut * (2 * up_to - up_to[:, -1:]) + moment[:, -1:] - 2 * moment
    return torch.empty_like(both).scatter_(1, ascending, 0.5 * both)


def _convolve(nodes: Tensor, layout: _Layout, kernel_order: int) -> Tensor:
    """Compute Σ_a nodes[a] K((a - b)·spacing) at every node b, for the kernel in `_even_or_odd`."""
    spectrum_of = _small_spectrum if layout.nodes <= GPU_NODES else _large_spectrum
    spectrum = spectrum_of(layout.nodes, layout.order, kernel_order, nodes.dtype, nodes.device)
    length = _transform_length(layout.nodes)
    result: Tensor = torch.fft.irfft(torch.fft.rfft(nodes, n=length) * spectrum, n=length)
    return result[:, : layout.nodes]


def _spread(values: Tensor, layout: _Layout) -> Tensor:
    """Spread ``values`` (Q, N) of the documents onto the nodes: ``(Q, nodes)``."""
    pieces = _spline_pieces(layout.order, layout.offset.dtype, layout.offset.device)
    moments = layout.offset.new_zeros(layout.order, len(values), layout.nodes)
    power = values.to(layout.offset.dtype, copy=True)
    for moment in moments:
        moment.scatter_add_(1, layout.first, power)
        power.mul_(layout.offset)
    shares = torch.tensordot(pieces, moments, dims=1)
    nodes: Tensor = shares[0]
    for a in range(1, layout.order):
        nodes[:, a:] += shares[a, :, : layout.nodes - a]
    return nodes


def _reading_dtype(similarity: Tensor, layout: _Layout, kernel_order: int) -> torch.dtype:
    """Return the dtype to evaluate sums in: wide where they may be small differences of large parts.

    That is so for softplus, and among documents far apart, where evaluation costs little next to the nodes.
    """
    return layout.offset.dtype if kernel_order == 0 or layout.cut is not None else similarity.dtype


def _coefficients(nodes: Tensor, layout: _Layout, dtype: torch.dtype) -> Tensor:
    """Return a function given at the nodes (Q, nodes) as a polynomial per cell: the factors ``[m]`` of t^m."""
    pieces = _spline_pieces(layout.order, layout.offset.dtype, layout.offset.device)
    shifted = nodes.new_zeros(layout.order, *nodes.shape)
    for a in range(layout.order):
        shifted[a, :, : layout.nodes - a] = nodes[:, a:]
    coefficients: Tensor = torch.tensordot(pieces.T, shifted, dims=1).to(dtype)
    return coefficients


def _read(coefficients: Tensor, layout: _Layout, *, slope: bool = False) -> tuple[Tensor, Tensor | None]:
    """Evaluate the polynomials at the documents, and their slope per node if requested: ``(Q, N)`` each."""
    offset = layout.offset.to(coefficients.dtype)
    value: Tensor = coefficients[-1].gather(1, layout.first)
    change = torch.zeros_like(value) if slope else None
    for m in reversed(range(len(coefficients) - 1)):
        if change is not None:
            change.mul_(offset).add_(value)
        value.mul_(offset).add_(coefficients[m].gather(1, layout.first))
    return value, change


def _slopes_of(coefficients: Tensor) -> Tensor:
    """Return the derivatives of the polynomials."""
    rising = coefficients[1:]
    exponents = torch.arange(1, len(coefficients), dtype=rising.dtype, device=rising.device)
    return rising * exponents[:, None, None]


class _GridSums:
    """The sums of some rows.

    Args:
        keep: Whether to keep the documents' positions for backward.
    """

    def __init__(self, *, keep: bool) -> None:
        self.keep = keep
        self.parts: dict[int, _GridSums] = {}
        self.layout: _Layout | None = None

    def rows_at_once(self, similarity: Tensor, ranked: int, temperature: float) -> int:
        documents, nodes = similarity.shape[1], GPU_NODES
        if reads_back(similarity.device):
            nearest = REACH[similarity.dtype] * documents
            nodes = count_nodes(min(span_of(similarity, temperature), nearest), similarity.dtype)
        return _ENTRIES_AT_ONCE.get(similarity.device.type, 2**22) // max(documents, 4 * nodes)

    def begin(self, similarity: Tensor, columns: Tensor) -> PairSums:
        return self

    def at(self, rows: slice) -> PairSums:
        return self.parts.setdefault(rows.start, _GridSums(keep=True)) if self.keep else self

    def _laid(self, similarity: Tensor, temperature: float) -> _Layout:
        layout = _lay(similarity, temperature) if self.layout is None else self.layout
        if self.keep:
            self.layout = layout
        return layout

    def total_and_slope(
        self, similarity: Tensor, columns: Tensor, temperature: float, weights: Tensor, order: int, *, slope: bool
    ) -> tuple[Tensor, Tensor | None]:
        layout = self._laid(similarity, temperature)
        values = _convolve(_spread(weights, layout), layout, order)
        wide = weights.to(values.dtype)
        half = 0.5 * wide.sum(1, keepdim=True)
        if order == 1:  # before rounding, since the sums of the first documents are small next to it
            values += half
        coefficients = _coefficients(values, layout, _reading_dtype(similarity, layout, order))
        total, change = _read(coefficients, layout.at(columns), slope=slope)
        if order == 0:
            total += _linear_part(similarity, columns, temperature, wide)
        if order == 0 and layout.ascending is not None and layout.cut is not None:
            total += _cut_from_softplus(wide, layout.ascending, layout.cut).gather(1, columns)
        total.sub_(weights.gather(1, columns), alpha=AT_ZERO[order]).clamp_min_(0)
        if change is None:
            return total, None
        slopes = change.div_(-SPACING)
        if order == 0:
            slopes += half
        return total, slopes.clamp_min_(0)

    def pull(self, similarity: Tensor, columns: Tensor, temperature: float, grad: Tensor, order: int) -> Tensor:
        """Differentiate as the slopes are, so that the terms k = j cancel to the last digits."""
        layout = self._laid(similarity, temperature)
        dtype = _reading_dtype(similarity, layout, order)
        nodes = _convolve(_spread(grad, layout.at(columns)), layout, order)
        pull, _ = _read(_slopes_of(_coefficients(nodes, layout, dtype)), layout)
        if order == 1:  # σ - ½ is odd, and here the sign of the difference is reversed
            return pull.div_(-SPACING).to(similarity.dtype)
        return pull.div_(SPACING).add_(0.5 * grad.sum(1, keepdim=True, dtype=dtype)).to(similarity.dtype)


def grid_sum(
    similarity: Tensor, columns: Tensor, temperature: float, weights: Tensor, kernel: str = "sigmoid"
) -> Tensor:
    r"""Compute the sums on a grid; time O(Q · (p·D + M·log M)), memory O(Q · D) plus the nodes of a few queries.

    M, the number of nodes, is the range of the similarities divided by c·τ, with gaps between neighbours counting as
    R·τ at most. Errors against exact sums of sigmoids for float32 similarities: less than 1e-6 · D in a sum, and less
    than 1e-5 of its norm in the gradient, or 2e-8 · ‖∂L/∂S‖/τ if all documents are so far apart that the gradient
    itself vanishes. Float64 agrees to about 1e-10. A sum of softplus has the same error in units of its largest term.

    This holds for similarities of any range. On a GPU, M is `GPU_NODES`, since reading the range would make the host
    wait, and an assertion on the device rejects similarities that need more nodes.

    Args:
        similarity: Predicted similarity, shape ``(Q, D)``, float32 or float64, finite.
        columns: The documents j of each query, shape ``(Q, P)``, int64 in [0, D).
        temperature: τ, above 0, in units of ``similarity``.
        weights: Weight v_k of each document k, at least 0, shape ``(Q, D)``; not differentiated.
        kernel: K, ``"sigmoid"`` or ``"softplus"``.

    Returns:
        The sums, shape ``(Q, P)``.
    """
    sums = _GridSums(keep=similarity.numel() <= _KEPT)
    totals: Tensor = PairSum.apply(similarity, columns, temperature, weights, KERNELS[kernel], sums)
    return totals
