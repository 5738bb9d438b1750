r"""Soft ranks in sub-cubic time: a one-dimensional kernel sum on a uniform grid.

The sum Σ_k v_k K((s_k - s_j)/τ) has a smooth kernel, so it needs no pairs:

1. lay a uniform grid of spacing c·τ over each query's similarities;
2. spread each document's weight onto the nearest nodes with B-splines of order p (p scatter-adds);
3. convolve the nodes with the kernel (FFT), undoing the blur of both B-splines in Fourier space;
4. read the result at each ranked document through the same B-splines (p gathers).

Splines with their blur undone interpolate, and at equal order far more closely than Lagrange polynomials.
The spread goes by moments: within a cell every B-spline is a polynomial of the document's offset t, so
Σ v t^m (m < p) is all that a cell needs to know.

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

GPU_NODES = 2048
"""Nodes on a GPU, where the range of the similarities cannot be read back: at full accuracy up to a range
of ``GPU_NODES * SPACING`` = 682 temperatures; beyond, a query's spacing widens."""

MOST_NODES = 2**16
"""Most nodes on a CPU: at full accuracy up to a range of 21,845 temperatures; beyond, a query's spacing widens."""

_ENTRIES_AT_ONCE = {"cpu": 2**17, "cuda": 2**25}
_FADE = 48  # nodes


class _Layout(NamedTuple):
    """Where the documents lie on the grid."""

    first: Tensor  # (Q, D) int64: leftmost of the document's p nodes
    offset: Tensor  # (Q, D) in [0, 1): place within the cell
    spacing: float | Tensor  # in units of the temperature; (Q, 1) where it differs
    nodes: int
    order: int

    def at(self, columns: Tensor) -> _Layout:
        """The same grid, with only the documents of ``columns`` on it."""
        return self._replace(first=self.first.gather(1, columns), offset=self.offset.gather(1, columns))


def _lay(similarity: Tensor, temperature: float) -> _Layout:
    order = ORDER[similarity.dtype]
    place = similarity.to(torch.float32 if similarity.device.type == "mps" else torch.float64)
    low = place.amin(dim=1, keepdim=True)
    span = (place.amax(dim=1, keepdim=True) - low) / temperature
    spacing: float | Tensor
    if similarity.device.type == "cpu":
        widest = span.max().item()
        # Rounded up, so that few different kernels are ever transformed.
        nodes = 16 * math.ceil((widest / SPACING + order + 1) / 16)
        spacing = SPACING
        if nodes > MOST_NODES:
            nodes = MOST_NODES
            spacing = (span / (nodes - order)).clamp_min_(SPACING)
    else:
        nodes = GPU_NODES
        spacing = (span / (nodes - order)).clamp_min_(SPACING)
    place = (place - low).div_(spacing * temperature)
    cell = place.floor()
    return _Layout(cell.long(), place.sub_(cell), spacing, nodes, order)


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


def fits(similarity: Tensor, temperature: float) -> bool:
    """Tell whether the grid has full accuracy for such a range; yes on other devices, where asking would wait."""
    if similarity.device.type != "cpu" or not similarity.numel():
        return True
    low, high = similarity.detach().aminmax(dim=1)
    return (high - low).max().item() / temperature < SPACING * (MOST_NODES - 32)


def _transform_length(nodes: int) -> int:
    length: int = next_fast_len(2 * (nodes + _FADE), real=True)
    return length


def _spectrum(
    spacing: float | Tensor,
    nodes: int,
    order: int,
    kernel_order: int,
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    """Transform of the kernel at the nodes' distances, with the blur of two splines divided out."""
    length = _transform_length(nodes)
    lag = torch.arange(length, device=device, dtype=dtype)
    lag = torch.where(lag > length // 2, lag - length, lag)
    kernel = _even_or_odd(-lag * spacing, kernel_order)
    # Distances that no two nodes have fade out smoothly: a jump where the transform wraps would ring.
    kernel = kernel * torch.special.erfc((lag.abs() - nodes - _FADE / 2) / 4).mul_(0.5)
    spline = torch.zeros(length, dtype=dtype, device=device)
    at_nodes = _spline_pieces(order, dtype, device)[:-1, 0]
    spline[torch.arange(1 - order // 2, order // 2, device=device)] = at_nodes
    spectrum: Tensor = torch.fft.rfft(kernel) / torch.fft.rfft(spline).real.square()
    return spectrum


_cached_spectrum = lru_cache(maxsize=64)(_spectrum)


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


def _convolve(nodes: Tensor, layout: _Layout, kernel_order: int) -> Tensor:
    """Σ_a nodes[a] K((a - b)·spacing) at every node b, for the kernel less its remainder."""
    spectrum_of = _cached_spectrum if isinstance(layout.spacing, float) else _spectrum
    spectrum = spectrum_of(layout.spacing, layout.nodes, layout.order, kernel_order, nodes.dtype, nodes.device)
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
    def rows_at_once(self, documents: int, ranked: int, device: torch.device) -> int:
        return _ENTRIES_AT_ONCE.get(device.type, 2**22) // max(documents, 1)

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
        total = sums(order).sub_(own, alpha=AT_ZERO[order]).clamp_min_(0)
        if order == 1:  # where a grid has widened, a count must at least stay one
            total = torch.minimum(total, weights.sum(1, keepdim=True) - own)
        return total, sums(order + 1).clamp_min_(0) if slope else None

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
    r"""Compute the sums on a grid; time O(Q · (p·D + M·log M)), memory O(Q · D).

    M is the range of the similarities over c·τ. Against exact sums of sigmoids, float32 similarities: a sum is off by
    less than 1e-6 · D, the gradient by less than 1e-5 of its norm, or by 1e-8 · ‖∂L/∂S‖/τ where every document
    is so far from the others that the gradient itself vanishes. That is so up to a range of `MOST_NODES` · `SPACING`
    temperatures, on a GPU of `GPU_NODES` · `SPACING`, beyond which nearby documents blur. Float64 agrees to about
    1e-10. A sum of softplus is off by as much in units of its largest term.

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
