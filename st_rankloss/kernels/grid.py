r"""Soft ranks in sub-cubic time: a one-dimensional kernel sum on a uniform grid.

The sum Σ_k v_k K((s_k - s_j)/τ) has a smooth kernel, so it needs no pairs:

0. bring documents that are far apart nearer: a gap between neighbours counts as R·τ at most, where σ is 0 or 1;
1. lay a uniform grid of spacing c·τ over each query's similarities;
2. spread each document's weight onto the nearest nodes with B-splines of order p (p scatter-adds);
3. convolve the nodes with the kernel (FFT), undoing the blur of both B-splines in Fourier space;
4. read the result at each ranked document through the same B-splines (p gathers).

Splines with their blur undone interpolate, and at equal order far more closely than Lagrange polynomials.
The spread goes by moments: within a cell every B-spline is a polynomial of the document's offset t, so
Σ v t^m (m < p) is all that a cell needs to know.

Step 0 changes the sums of sigmoids by less than e^-R each, and softplus by what is cut from |x|/2, which sorted
prefix sums give back. So M, the nodes that a query needs, depends on its similarities, but never exceeds R/c per
document: neither an outlier nor a small temperature makes the grid any larger, or less exact.

Node arithmetic is float64 (float32 on devices without it): sums of thousands of equal float32 terms, as
tied documents give, would lose digits.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from scipy.fft import next_fast_len
from torch import Tensor

from st_rankloss.kernels.pair_sums import AT_ZERO, KERNELS, PairSum

SPACING = 1 / 3
"""Node spacing in units of the temperature."""

ORDER = {torch.float32: 6, torch.float64: 14}
"""Spline order (even) by the dtype of the similarities."""

REACH = {torch.float32: 20.0, torch.float64: 32.0}
"""R, the widest gap between neighbours, in units of the temperature, by the dtype of the similarities."""

GPU_NODES = 2**14
"""Nodes where the host cannot read how many are needed without waiting: as on a GPU. They reach over 5,461
temperatures, gaps counting as R at most; the device itself refuses similarities that need more."""

SORTED_FROM = 4
"""Nodes per document from which on a CPU sorts the similarities to bring them nearer: fewer are cheaper than that."""

_ENTRIES_AT_ONCE = {"cpu": 2**17, "cuda": 2**24}
_FADE = 48  # nodes


class _Layout(NamedTuple):
    """Where the documents lie on the grid."""

    first: Tensor  # (Q, D) int64: leftmost of the document's p nodes
    offset: Tensor  # (Q, D) in [0, 1): place within the cell
    nodes: int
    order: int
    ascending: Tensor | None = None  # (Q, D) int64: the documents by similarity, if any were brought nearer
    cut: Tensor | None = None  # (Q, D): by how many temperatures they were, in that order

    def at(self, columns: Tensor) -> _Layout:
        """The same grid, with only the documents of ``columns`` on it."""
        return self._replace(first=self.first.gather(1, columns), offset=self.offset.gather(1, columns))


def reads_back(device: torch.device) -> bool:
    """Return whether the host may read values: a GPU it would have to wait for (MPS has no other way to be checked)."""
    return device.type in ("cpu", "mps")


def count_nodes(span: float, dtype: torch.dtype) -> int:
    """Return how many nodes a range of ``span`` temperatures needs, rounded up by at most 1/8.

    Few different numbers mean that few different kernels are ever transformed.
    """
    least = math.ceil(span / SPACING) + ORDER[dtype] + 1
    step: int = max(16, 2 ** (least.bit_length() - 4))
    return step * math.ceil(least / step)


def span_of(similarity: Tensor, temperature: float) -> float:
    """Return the widest range of a query's similarities, in temperatures; waits for the device."""
    low, high = similarity.detach().aminmax(dim=1)
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
        # Checked on the device, which stops there: nothing waits, and no gradient is wrong.
        torch._assert_async(
            place.amax() < reach,
            f"similarities over temperature range too widely for method='grid' on a GPU, which reaches over "
            f"{reach:.0f} temperatures, wide gaps left out: pass method='relevant', a higher temperature or cosines.",
        )
    place = place.div_(SPACING)
    cell = place.floor()
    return _Layout(cell.long(), place.sub_(cell), nodes, ORDER[dtype], ascending, cut)


def is_wide(span: float, documents: int) -> bool:
    """Return whether a range may have gaps worth cutting; else sorting would cost more than it saves."""
    return span / SPACING > SORTED_FROM * documents + 16


def _bring_nearer(similarity: Tensor, temperature: float, wide: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Places from 0 in temperatures with no gap above R; the documents in ascending order; what was cut from them."""
    values, ascending = similarity.sort(dim=1)
    values = values.to(wide)
    gaps = values.diff(dim=1, prepend=values[:, :1]).div_(temperature)
    near = gaps.clamp_max(REACH[similarity.dtype])
    cut = (gaps - near).cumsum(dim=1)
    place = torch.empty_like(values).scatter_(1, ascending, near.cumsum(dim=1))
    return place, ascending, cut


def nearest_span(similarity: Tensor, temperature: float) -> float:
    """Return the widest range with gaps counting as R at most, in temperatures; waits for the device."""
    return _bring_nearer(similarity.detach(), temperature, torch.float64)[0].max().item()


@lru_cache(maxsize=16)
def _spline_pieces(order: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Coefficients ``[a, m]`` of t^m in the B-spline of node a, counted from a cell's leftmost node."""
    pieces = np.ones((1, 1))  # [j, m]: t^m on the j-th unit interval of the spline's support
    for degree in range(1, order):
        rising = np.pad(pieces, ((0, 1), (0, 1)))
        falling = np.pad(pieces, ((1, 0), (0, 1)))
        interval = np.arange(degree + 1)[:, None]
        times_t = np.roll(rising - falling, 1, axis=1)
        pieces = (times_t + interval * rising + (degree + 1 - interval) * falling) / degree
    return torch.tensor(pieces[::-1].copy(), dtype=dtype, device=device)


def _transform_length(nodes: int) -> int:
    length: int = next_fast_len(2 * (nodes + _FADE), real=True)
    return length


def _spectrum(nodes: int, order: int, kernel_order: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Transform of the kernel at the nodes' distances, with the blur of two splines divided out."""
    length = _transform_length(nodes)
    lag = torch.arange(length, device=device, dtype=dtype)
    lag = torch.where(lag > length // 2, lag - length, lag)
    kernel = _even_or_odd(-lag * SPACING, kernel_order)
    # Distances that no two nodes have fade out smoothly: a jump where the transform wraps would ring.
    kernel = kernel * torch.special.erfc((lag.abs() - nodes - _FADE / 2) / 4).mul_(0.5)
    spline = torch.zeros(length, dtype=dtype, device=device)
    at_nodes = _spline_pieces(order, dtype, device)[:-1, 0]
    spline[torch.arange(1 - order // 2, order // 2, device=device)] = at_nodes
    spectrum: Tensor = torch.fft.rfft(kernel) / torch.fft.rfft(spline).real.square()
    return spectrum


_small_spectrum, _large_spectrum = (lru_cache(maxsize=most)(_spectrum) for most in (64, 4))


def _even_or_odd(x: Tensor, kernel_order: int) -> Tensor:
    """The kernel less what `_remainder` adds exactly: softplus - x/2, which is even, σ - ½, which is odd, or σ'."""
    if kernel_order == 0:
        return 0.5 * x.abs() + torch.log1p(torch.exp(-x.abs()))
    ahead = torch.sigmoid(x)
    return ahead - 0.5 if kernel_order == 1 else ahead * (1 - ahead)


def _remainder(
    similarity: Tensor, columns: Tensor, temperature: float, weights: Tensor, kernel_order: int
) -> Tensor | float:
    """Σ_k v_k R(x_jk) for j in ``columns``, where R is x/2 for softplus, ½ for σ and 0 for σ'."""
    if kernel_order == 2:
        return 0.0
    total = weights.sum(1, keepdim=True)
    if kernel_order == 1:
        return 0.5 * total
    return ((weights * similarity).sum(1, keepdim=True) - similarity.gather(1, columns) * total) / (2 * temperature)


def _cut_from_softplus(weights: Tensor, ascending: Tensor, cut: Tensor) -> Tensor:
    """½ Σ_k v_k (|x_jk| - |x'_jk|) for every document j, where x' is the difference after gaps were cut: ``(Q, D)``."""
    weight = weights.gather(1, ascending)
    up_to, moment = weight.cumsum(1), (weight * cut).cumsum(1)
    both = cut * (2 * up_to - up_to[:, -1:]) + moment[:, -1:] - 2 * moment
    return torch.empty_like(both).scatter_(1, ascending, 0.5 * both)


def _convolve(nodes: Tensor, layout: _Layout, kernel_order: int) -> Tensor:
    """Σ_a nodes[a] K((a - b)·spacing) at every node b, for the kernel less its remainder."""
    spectrum_of = _small_spectrum if layout.nodes <= GPU_NODES else _large_spectrum
    spectrum = spectrum_of(layout.nodes, layout.order, kernel_order, nodes.dtype, nodes.device)
    length = _transform_length(layout.nodes)
    result: Tensor = torch.fft.irfft(torch.fft.rfft(nodes, n=length) * spectrum, n=length)
    return result[:, : layout.nodes]


def _spread(values: Tensor, layout: _Layout) -> Tensor:
    """Spread ``values`` (Q, N) of the laid documents onto the nodes: ``(Q, nodes)``."""
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


def _read(nodes: Tensor, layout: _Layout) -> Tensor:
    """Read the function given at the nodes (Q, nodes) at the laid documents: ``(Q, N)``."""
    pieces = _spline_pieces(layout.order, layout.offset.dtype, layout.offset.device)
    shifted = nodes.new_zeros(layout.order, *nodes.shape)
    for a in range(layout.order):
        shifted[a, :, : layout.nodes - a] = nodes[:, a:]
    coefficients = torch.tensordot(pieces.T, shifted, dims=1)
    value: Tensor = coefficients[-1].gather(1, layout.first)
    for m in reversed(range(layout.order - 1)):
        value.mul_(layout.offset).add_(coefficients[m].gather(1, layout.first))
    return value


class _GridSums:
    def rows_at_once(self, similarity: Tensor, ranked: int, temperature: float) -> int:
        documents, nodes = similarity.shape[1], GPU_NODES
        if reads_back(similarity.device):
            nearest = REACH[similarity.dtype] * documents
            nodes = count_nodes(min(span_of(similarity, temperature), nearest), similarity.dtype)
        return _ENTRIES_AT_ONCE.get(similarity.device.type, 2**22) // max(documents, nodes)

    def total_and_slope(
        self, similarity: Tensor, columns: Tensor, temperature: float, weights: Tensor, order: int, *, slope: bool
    ) -> tuple[Tensor, Tensor | None]:
        layout = _lay(similarity, temperature)
        ranked = layout.at(columns)
        nodes = _spread(weights, layout)
        place, weights = similarity.to(nodes.dtype), weights.to(nodes.dtype)

        def sums(order: int) -> Tensor:
            remainder = _remainder(place, columns, temperature, weights, order)
            return _read(_convolve(nodes, layout, order), ranked).add_(remainder)

        own = weights.gather(1, columns)
        total = sums(order).sub_(own, alpha=AT_ZERO[order])
        if order == 0 and layout.ascending is not None and layout.cut is not None:
            total = total.add_(_cut_from_softplus(weights, layout.ascending, layout.cut).gather(1, columns))
        return total.clamp_min_(0), sums(order + 1).clamp_min_(0) if slope else None

    def pull(self, similarity: Tensor, columns: Tensor, temperature: float, grad: Tensor, order: int) -> Tensor:
        layout = _lay(similarity, temperature)
        nodes = _spread(grad, layout.at(columns))
        pull = _read(_convolve(nodes, layout, order + 1), layout)
        if order == 0:  # σ - ½ is odd, and here j is the far end of the difference
            pull = 0.5 * grad.sum(1, keepdim=True, dtype=nodes.dtype) - pull
        return pull.to(similarity.dtype)


_SUMS = _GridSums()


def grid_sum(
    similarity: Tensor, columns: Tensor, temperature: float, weights: Tensor, kernel: str = "sigmoid"
) -> Tensor:
    r"""Compute the sums on a grid; time O(Q · (p·D + M·log M)), memory O(Q · D) and that of the nodes of a few queries.

    M, the number of nodes, is the range of the similarities over c·τ, with gaps between neighbours counting as R·τ at
    most. Against exact sums of sigmoids, float32 similarities: a sum is off by less than 1e-6 · D, the gradient by less
    than 1e-5 of its norm, or by 1e-8 · ‖∂L/∂S‖/τ where every document is so far from the others that the gradient
    itself vanishes. Float64 agrees to about 1e-10. A sum of softplus is off by as much in units of its largest term.

    That is so for similarities of any range. On a GPU, where M is `GPU_NODES` since reading the range would make the
    host wait, similarities that need more nodes are refused, by an assertion on the device.

    Args:
        similarity: Predicted similarity, shape ``(Q, D)``, float32 or float64, finite.
        columns: The documents j of each query, shape ``(Q, P)``, int64 in [0, D).
        temperature: τ, above 0, in units of ``similarity``.
        weights: How much each document k counts, at least 0, shape ``(Q, D)``; not differentiated.
        kernel: K, ``"sigmoid"`` or ``"softplus"``.

    Returns:
        The sums, shape ``(Q, P)``.
    """
    totals: Tensor = PairSum.apply(similarity, columns, temperature, weights, KERNELS[kernel], _SUMS)
    return totals
