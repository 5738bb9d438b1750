"""Exact sums over the pairs of a few documents, which compute only their rows of the pair matrix.

Use this method if few documents of a query are relevant, since only those need a rank.

With e_k = e^((s_k - c)/τ), where c is the middle of the ranked documents, σ((s_k - s_j)/τ) = e_k / (e_k + e_j): one
exponential per document and one division per pair. Documents `CLEAR` temperatures or more beyond all ranked ones, where
σ is 0 or 1, may count as nearer, so that no exponential overflows. Ranked documents further apart than that allows, and
devices whose values the host cannot read without waiting, take one exponential per pair.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from st_rankloss.kernels.pair_sums import AT_ZERO, KERNELS, PairSum, softplus

CLEAR = 30.0
"""Distance in temperatures beyond which a document may count as nearer: an error of e^-30 in σ."""

_LARGEST = {torch.float32: 85.0, torch.float64: 700.0}
"""The largest logarithm of e_k by dtype: also the sum of two of them is finite."""

WIDEST = 2 * (_LARGEST[torch.float32] - CLEAR)
"""The range of ranked documents, in temperatures, up to which float32 takes one exponential per document."""

_PAIRS_AT_ONCE = {"cpu": 2**20, "cuda": 2**27}


class _RelevantSums:
    """The sums of some rows.

    Args:
        powers: The e_k of all documents, ``(Q, D)``; None without them.
        buffer: Memory for pairs: to allocate it for every block would cost as much as to compute the pairs.
    """

    def __init__(self, powers: Tensor | None, buffer: Tensor | None = None) -> None:
        self.powers, self.buffer = powers, buffer

    def rows_at_once(self, similarity: Tensor, ranked: int, temperature: float) -> int:
        return _PAIRS_AT_ONCE.get(similarity.device.type, 2**24) // max(similarity.shape[1] * ranked, 1)

    def begin(self, similarity: Tensor, columns: Tensor) -> _RelevantSums:
        if self.powers is None:
            return self
        pairs = min(_PAIRS_AT_ONCE["cpu"], columns.numel() * similarity.shape[1])
        return _RelevantSums(self.powers, similarity.new_empty(pairs))

    def at(self, rows: slice) -> _RelevantSums:
        if self.powers is None:
            return self
        return _RelevantSums(self.powers[rows], self.buffer)

    def total_and_slope(
        self, similarity: Tensor, columns: Tensor, temperature: float, weights: Tensor, order: int, *, slope: bool
    ) -> tuple[Tensor, Tensor | None]:
        totals, slopes = [], []
        for some in columns.split(_columns_at_once(similarity), dim=1):
            if slope or order:
                ahead = self._sigmoids(similarity, some, temperature)
            value = ahead if order else softplus(_differences(similarity, some, temperature))
            totals.append(_weighted(value, weights))
            if slope:
                slopes.append(_weighted(_slope(ahead) if order else ahead, weights))
        total = torch.cat(totals, dim=1).sub_(weights.gather(1, columns), alpha=AT_ZERO[order])
        return total, torch.cat(slopes, dim=1) if slope else None

    def pull(self, similarity: Tensor, columns: Tensor, temperature: float, grad: Tensor, order: int) -> Tensor:
        pulled: Tensor | None = None
        at_once = _columns_at_once(similarity)
        for some, upstream in zip(columns.split(at_once, dim=1), grad.split(at_once, dim=1), strict=True):
            ahead = self._sigmoids(similarity, some, temperature)
            part = (_slope(ahead) if order else ahead).mul_(upstream[:, :, None]).sum(1)
            pulled = part if pulled is None else pulled.add_(part)
        return torch.zeros_like(similarity) if pulled is None else pulled

    def _sigmoids(self, similarity: Tensor, columns: Tensor, temperature: float) -> Tensor:
        """Compute σ((s_k - s_j)/τ) for j in ``columns``: ``(Q, P, D)``."""
        if self.powers is None:
            return _differences(similarity, columns, temperature).sigmoid_()
        least = torch.finfo(self.powers.dtype).tiny  # for a document that is not counted: 0 / 0 would be NaN
        own, others = self.powers.gather(1, columns).clamp_min_(least)[:, :, None], self.powers[:, None, :]
        shape = (*columns.shape, similarity.shape[1])
        room = similarity.new_empty(0) if self.buffer is None else self.buffer[: math.prod(shape)]
        pairs = room.view(shape) if len(room) == math.prod(shape) else similarity.new_empty(shape)
        torch.add(others, own, out=pairs)
        return torch.div(others, pairs, out=pairs)


def _powers_of(similarity: Tensor, columns: Tensor, temperature: float, weights: Tensor) -> Tensor | None:
    """Compute e_k of all documents ``(Q, D)``; None if ranked documents are too far apart, or on other devices."""
    if similarity.device.type != "cpu" or similarity.dtype not in _LARGEST or not columns.numel():
        return None
    low = high = similarity.gather(1, columns)
    if weights.dtype == torch.bool:  # no sum of other documents is read
        counted = weights.gather(1, columns)
        low, high = torch.where(counted, low, torch.inf), torch.where(counted, high, -torch.inf)
    low, high = low.amin(1, keepdim=True), high.amax(1, keepdim=True)
    largest = _LARGEST[similarity.dtype]
    if not (high - low).max() / temperature <= 2 * (largest - CLEAR):
        return None
    middle = low.lerp(high, 0.5).nan_to_num(0)  # NaN without such documents
    return similarity.sub(middle).div_(temperature).clamp_(-largest, largest).exp_()


def _columns_at_once(similarity: Tensor) -> int:
    """Documents to rank at a time, so that even the pairs of a single query fit in cache."""
    return max(1, _PAIRS_AT_ONCE.get(similarity.device.type, 2**24) // max(similarity.numel(), 1))


def _differences(similarity: Tensor, columns: Tensor, temperature: float) -> Tensor:
    """Compute (s_k - s_j)/τ for j in ``columns``: ``(Q, P, D)``."""
    own = similarity.gather(1, columns)
    return (similarity[:, None, :] - own[:, :, None]).div_(temperature)


def _slope(ahead: Tensor) -> Tensor:
    """Turn σ into σ(1 - σ), in place."""
    return torch.addcmul(ahead, ahead, ahead, value=-1, out=ahead)


def _weighted(pairs: Tensor, weights: Tensor) -> Tensor:
    if not any(weights.stride()):  # all weigh the same
        return pairs.sum(-1).mul_(weights[:1, :1])
    # Not a matrix product, which a GPU may round to TF32.
    return (pairs * weights[:, None, :]).sum(-1)


def relevant_sum(
    similarity: Tensor, columns: Tensor, temperature: float, weights: Tensor, kernel: str = "sigmoid"
) -> Tensor:
    """Compute the sums of a few documents exactly; time O(Q · P · D), memory O(Q · D).

    Args:
        similarity: Predicted similarity, shape ``(Q, D)``, floating, finite.
        columns: The documents j of each query, shape ``(Q, P)``, int64 in [0, D).
        temperature: τ, above 0, in units of ``similarity``.
        weights: Weight v_k of each document k, at least 0, shape ``(Q, D)``; not differentiated. A mask (bool) of the
            documents to count, among them those of which a sum is read, costs less.
        kernel: K, ``"sigmoid"`` or ``"softplus"``.

    Returns:
        The sums, shape ``(Q, P)``.
    """
    powers = _powers_of(similarity.detach(), columns, temperature, weights)
    if weights.dtype == torch.bool and powers is not None and kernel == "sigmoid":
        powers = torch.where(weights, powers, 0)  # σ and its slope are then 0
        weights = powers.new_ones(()).expand_as(powers)
    weights = weights.to(similarity.dtype)
    sums = _RelevantSums(powers)
    totals: Tensor = PairSum.apply(similarity, columns, temperature, weights, KERNELS[kernel], sums)
    return totals
